"""What a subject does while it is played. Its other layer must pass all the same."""

from __future__ import annotations

from tests.hostile.case import CHECKS, layer

BACKWARD = ("--only=-forward", "--only=-input_grad", "--seconds", "2")
WRONG = "dy = 7 * dy"

# ---- what ends the process ----

ENDS = {
    "sys.exit in forward": ("sys.exit(0)", "calls sys.exit(0)"),
    "SystemExit with a text": ("raise SystemExit('bye')", "calls sys.exit('bye')"),
    "_exit with 0": ("os._exit(0)", "ended the process, with exit code 0"),
    "_exit with 7": ("os._exit(7)", "ended the process, with exit code 7"),
    "abort": ("os.abort()", "crashed the interpreter: SIGABRT"),
    "null pointer": ("ctypes.string_at(0)", "crashed the interpreter: SIGSEGV"),
    "SIGKILL to itself": ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    "SIGTERM to itself": ("os.kill(os.getpid(), signal.SIGTERM)", "SIGTERM"),
    "SIGKILL to its parent": (
        "subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        "os.kill(os.getppid(), signal.SIGKILL); time.sleep(9)",
        "killed the process that keeps its own"),
    "SIGSTOP to its parent": ("os.kill(os.getppid(), signal.SIGSTOP); os._exit(0)", "Tanh"),
    "SIGKILL to its group": ("os.killpg(0, signal.SIGKILL)", "SIGKILL"),
    "exit of site": ("exit(3)", "calls sys.exit(3)"),
    "another program in its place": ("os.execv('/bin/true', ['true'])", "exit code 0"),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", "raises KeyboardInterrupt"),
    "GeneratorExit": ("raise GeneratorExit", "raises GeneratorExit"),
    "an exception of its own base": (
        "raise type('Own', (BaseException,), {})('gone')", "raises Own: gone"),
    "recursion": ("f = lambda: f(); f()", "raises RecursionError"),
    "recursion without a limit": (
        "sys.setrecursionlimit(10**8); f = lambda n: f([n]); f(0)", "Tanh"),
    "a thread that ends all": (
        "threading.Thread(target=os._exit, args=(5,)).start(); time.sleep(3)", "exit code 5"),
    "an alarm": ("signal.alarm(1); time.sleep(9)", "SIGALRM"),
    "a limit of processor time": (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass",
        "Tanh"),
}  # fmt: skip
for name, (does, says) in ENDS.items():
    fast = name in ("_exit with 0", "SIGKILL to its parent", "null pointer", "KeyboardInterrupt")
    layer("process enders", name, says, forward=does, worst=fast)
layer("process enders", "in backward", "exit code 4", backward="os._exit(4)", options=BACKWARD,
      blameless=False)  # fmt: skip
layer("process enders", "when made", "exit code 3, when made", init="os._exit(3)")

# ---- what is left for the layer after it ----

LATE = """
class Late:
    def __del__(self):
        time.sleep(1)
"""

LEFT = {
    "an object that exits when it is deleted": (
        "self.late = type('Late', (), {'__del__': lambda self: os._exit(3)})()", ""),
    "an alarm": ("signal.setitimer(signal.ITIMER_REAL, 0.3)\nself.late = Late()", "Tanh"),
    "an alarm that raises": (
        "signal.signal(signal.SIGALRM, lambda *_: 1 / 0); signal.setitimer(signal.ITIMER_REAL, 9)",
        "changes how signals are handled"),
    "a function of torch": ("torch.sigmoid = torch.tanh", "replaces torch.sigmoid"),
    "none": ("del torch.sigmoid", "replaces torch.sigmoid"),
    "a method of torch": (
        "torch.Tensor.sum = lambda self: 2", "replaces torch.Tensor.sum"),
    "a thread that exits": (
        "threading.Thread(target=lambda: (time.sleep(0.05), os._exit(5))).start()", "Tanh"),
}  # fmt: skip
for name, (does, says) in LEFT.items():
    fast = name in ("an object that exits when it is deleted", "a function of torch")
    layer("what is left", name, "Tanh 1 passed", says, code=0, forward=does, top=LATE, worst=fast)

# ---- children ----

CHILDREN = {
    "a session of its own": "if os.fork() == 0: os.setsid(); time.sleep(300); os._exit(0)",
    "a program in a session of its own": (
        "subprocess.Popen(['sleep', '300'], start_new_session=True)"),
    "a daemon by two forks": (
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: time.sleep(300)\n"
        "    os._exit(0)"),
    "both go on": "os.fork()",
    "one that prints without end": "subprocess.Popen(['yes'])",
    "twenty": "for _ in range(20):\n    if os.fork() == 0: time.sleep(300); os._exit(0)",
    "one that is stopped": (
        "child = subprocess.Popen(['sleep', '300']); os.kill(child.pid, signal.SIGSTOP)"),
    "one that hears nothing": (
        "subprocess.Popen(['bash', '-c', 'trap \"\" TERM INT HUP; sleep 300'])"),
    "zombies": "for _ in range(5):\n    if os.fork() == 0: os._exit(0)",
    "a loop in C": "subprocess.Popen([sys.executable, '-c', 'sum(iter(int, 1))'])",
    "one that forks for ever": (
        "subprocess.Popen(['bash', '-c', 'while true; do sleep 0.01 & done'])"),
    "multiprocessing": (
        "import multiprocessing as m\n"
        "m.get_context('fork').Process(target=time.sleep, args=(300,), daemon=True).start()"),
    "a thread that never ends": "threading.Thread(target=time.sleep, args=(300,)).start()",
    "daemon threads in a loop": (
        "threading.Thread(target=lambda: [time.sleep(0.001) for _ in iter(int, 1)], "
        "daemon=True).start()"),
}  # fmt: skip
for name, does in CHILDREN.items():
    fast = name in ("a session of its own", "both go on", "one that forks for ever")
    layer("children", name, "Tanh 1 passed", code=0, forward=does, worst=fast)

# ---- what never ends ----

HANGS = {
    "a loop": "while True: pass",
    "a sleep": "time.sleep(1e6)",
    "a loop in C": "sum(iter(int, 1))",
    "in C without Python": "ctypes.PyDLL(None).pause()",
    "a regular expression": "import re; re.match('(a+)+$', 'a' * 60 + 'b')",
    "a lock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "signals are blocked": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: pass"),
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "the text of an exception": (
        "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E()"),
    "closes all and loops": "os.closerange(3, 256)\nwhile True: pass",
    "the input of a terminal": "input() if sys.stdin.readline() else time.sleep(99)",
    "a join of itself": "import queue; queue.Queue().get()",
}  # fmt: skip
for name, does in HANGS.items():
    says = "and goes on" if name == "closes all and loops" else "hangs in forward: no answer within"
    fast = name in ("in C without Python", "signals are blocked")
    layer("hangs", name, says, forward=does, worst=fast)
layer("hangs", "when made", "hangs when made", init="while True: pass")
layer("hangs", "when imported", "the whole run is over, when imported", code=2, blameless=False,
      top="time.sleep(1e6)", options=(*CHECKS, "--total-seconds", "6"), worst=True)  # fmt: skip
layer("hangs", "each call a little", "Stopped: the time for the whole run is over", code=2,
      blameless=False, forward="time.sleep(1.2)",
      options=("--seconds", "2", "--total-seconds", "9"))  # fmt: skip

# ---- memory ----

LITTLE = (*CHECKS, "--memory", "0.5")
layer("memory", "a tensor that cannot be", "asks for more memory than there is",
      forward="torch.zeros(10**12)")  # fmt: skip
layer("memory", "bytes without end", "MemoryError", options=LITTLE,
      forward="kept = []\nwhile True: kept.append(bytearray(1 << 24))")  # fmt: skip
layer("memory", "a list", "MemoryError", forward="[0] * 10**11")
layer("memory", "children", "with the processes that it has started, more memory than it may",
      options=("--only=-forward", "--seconds", "15", "--memory", "0.5"), worst=True,
      forward="for _ in range(4):\n    if os.fork() == 0: kept = b'x' * (300 << 20); "
              "time.sleep(300)\ntime.sleep(9)")  # fmt: skip
layer("memory", "an answer of 400 MB", "cannot be sent to the judge: it takes more than",
      forward="return torch.zeros(10**8)", options=("--only=-forward",), worst=True)  # fmt: skip
layer("memory", "a text of ten million characters", "raises ValueError: xxx",
      forward="raise ValueError('x' * 10**7)", worst=True)  # fmt: skip
layer("memory", "a name of a million characters", "an array is due",
      forward="return type('x' * 10**6, (), {})()")  # fmt: skip
layer("memory", "a number of a million digits", "it gives int, where",
      forward="return 10**10**6", options=("--only=-forward",))  # fmt: skip

# ---- trust ----

EVIL = """
class Evil(str):
    def __reduce__(self):
        return (exec, ("import os; os._exit(0)",))
"""
layer("trust", "a name that unpickles", "Tanh 1 wrong", top=EVIL, called="Evil('evil')",
      options=("--only=-input_grad",), backward=WRONG, worst=True)  # fmt: skip
layer("trust", "a waiver that unpickles", "Tanh 1 wrong", top=EVIL, backward=WRONG,
      options=("--only=-input_grad",),
      bottom="object.__setattr__(subject, 'waivers', {Evil('ReLU'): Evil('x')})")  # fmt: skip
layer("trust", "a subclass of Tensor", "Tanh 1 passed", code=0, top="class S(torch.Tensor): pass",
      forward="return self.y.as_subclass(S)")  # fmt: skip
layer("trust", "torch in the process is another", "Tanh 1 wrong", backward=WRONG,
      options=("--only=-input_grad",),
      top="torch.allclose = torch.equal = lambda *a, **k: True\n"
          "torch.autograd.grad = lambda *a, **k: 1 / 0")  # fmt: skip
layer("trust", "the judge in the process is another", "Tanh 1 wrong", backward=WRONG,
      options=("--only=-input_grad",),
      top="import parity.judge.comparison as c\nc.compare_one = c.compare = None\n"
          "import parity.run.plan as p\np.planned = None")  # fmt: skip
layer("trust", "an object with __reduce__", "where an array is due",
      top="class Odd:\n    def __reduce__(self): return (exec, ('1/0',))",
      forward="return Odd()")  # fmt: skip
REFERENCE = """
class Ref:
    def __init__(self, command="true"): pass
    def __call__(self, x): return x
Ref.__module__, Ref.__qualname__ = {place}
class Same:
    def __init__(self, command="true"): pass
    def forward(self, x): return x.clone()
    def backward(self, dy): return dy.clone()
"""
for name, place in {
    "os.system": "'torch', 'os.system'",
    "sys.exit": "'torch.nn.functional', 'sys.exit'",
    "torch.load": "'torch', 'load'",
}.items():
    layer("trust", f"a reference that is {name}", "its reference makes no torch.nn.Module",
          code=0, top=REFERENCE.format(place=place), options=("--seconds", "9"), blameless=False,
          bottom="more = {'': {'command': 'touch /tmp/pwned'}}\n"
                 "own = parity.Entry(Ref, 'layer', more, name='Same')\n"
                 "object.__setattr__(subject, 'layers', subject.layers | {own: Same})")  # fmt: skip
GARBAGE = (
    "for fd in range(3, 64):\n    try: os.write(fd, {bytes})\n    except OSError: pass\n"
    "time.sleep(9)"
)
for name, content in {
    "garbage": "b'x' * 100",
    "a length beyond all": "b'\\xff' * 8",
    "a length and nothing": "(50).to_bytes(8, 'little')",
    "a header that is none": (
        "(12).to_bytes(8, 'little') + (8).to_bytes(4, 'little') + b'{\"a\": 1}'"),
    "a pickle": "b'\\x80\\x05cos\\nsystem\\n(S\"true\"\\ntR.' * 9",
}.items():  # fmt: skip
    late = name == "a length and nothing"
    layer("trust", f"writes {name} to the line", "hangs" if late else "sent what cannot be read",
          forward=GARBAGE.format(bytes=content), worst=name == "garbage")  # fmt: skip
layer("trust", "an answer that nobody asked for", "sent what cannot be read", worst=True,
      top="from parity.play.message import packed",
      forward="told = packed((9, 'value', self.y * 1, []))\n"
              + GARBAGE.format(bytes="len(told).to_bytes(8, 'little') + told"))  # fmt: skip
layer("trust", "an own module called json", "Tanh 1 passed", code=0,
      top="from pathlib import Path\nPath('json.py').write_text('1/0')",
      forward="import importlib, json; json.dumps(1)")  # fmt: skip

# ---- printing and descriptors ----

PRINTS = {
    "ten million characters": "print('x' * 10**7)",
    "300 MB": "for _ in range(300): os.write(1, b'x' * 2**20)",
    "escape sequences": "print('\\033[2J\\033]0;title\\007')",
    "half characters": "os.write(1, b'\\xff\\xfe\\x00')",
    "surrogates": "sys.stdout.buffer.write('\\ud800'.encode(errors='surrogatepass'))",
    "to standard error": "os.write(2, b'y' * 10**6)",
    "by a child": "subprocess.run(['echo', 'hello'])",
}
for name, does in PRINTS.items():
    layer("printing and descriptors", name, "Tanh 1 passed", "the subject prints", code=0,
          forward=does, never=("Traceback", "\x1b"), worst=name == "300 MB")  # fmt: skip
OUTPUTS = {
    "no standard output": "sys.stdout = None",
    "standard output is closed": "sys.stdout.close()",
    "standard output without flush": (
        "sys.stdout = type('Log', (), {'write': lambda self, text: None})()"),
    "flush raises": (
        "sys.stdout = type('Log', (), {'flush': lambda self: exec('raise SystemExit')})()"),
    "standard output is a number": "sys.stdout = 7",
    "descriptors 1 and 2 are closed": "os.close(1); os.close(2)",
    "descriptor 1 is a device": "os.dup2(os.open('/dev/full', os.O_WRONLY), 1); print('x')",
    "a hundred files are opened": "self.kept = [open(os.devnull) for _ in range(100)]",
}  # fmt: skip
for name, does in OUTPUTS.items():
    fast = name == "standard output is closed"
    layer("printing and descriptors", name, "Tanh 1 passed", code=0, forward=does, worst=fast)
layer("printing and descriptors", "all descriptors are closed", "Tanh 1 wrong",
      forward="os.closerange(0, 256)")  # fmt: skip

# ---- what a layer returns ----

RETURNS = {
    "None": ("None", "NoneType"), "a text": ("'y'", "str"), "a dict": ("{}", "dict"),
    "an object": ("object()", "object"), "a ragged list": ("[[1.0], [1.0, 2.0]]", "list"),
    "complex numbers": ("self.y * 1j", "complex64"), "integers": ("self.y.long()", "int64"),
    "a sparse tensor": ("self.y.to_sparse()", "sparse"),
    "no numbers": ("self.y.to('meta')", "meta"),
    "NaN": ("self.y * float('nan')", "Tanh 1 wrong"),
    "another shape": ("self.y.T", "shape"), "a number": ("torch.tensor(1.0)", "shape"),
    "a generator": ("(i for i in [1])", "generator"),
    "an array of objects": ("__import__('numpy').array([None])", "of object"),
    "itself": ("self", "Tanh"), "a class": ("type(self)", "type"),
    "a quantized tensor": (
        "torch.quantize_per_tensor(self.y, 0.1, 0, torch.quint8)", "where an array is due"),
}  # fmt: skip
for name, (value, says) in RETURNS.items():
    layer("return values", name, says, forward=f"return {value}", worst=name == "a ragged list")
for name, value in {
    "with a history of gradients": "self.y.clone().requires_grad_() * 1",
    "a view that is expanded": "self.y.clone()[..., None].expand(*self.y.shape, 2)[..., 0]",
    "a conjugate view": "torch.complex(self.y, self.y).conj().real",
}.items():
    layer("return values", name, "Tanh 1 passed", code=0, forward=f"return {value}")

# ---- objects that bite whoever looks at them ----

TRAPS = {
    "its exception has no text": (
        "class E(Exception):\n    def __str__(self): raise ValueError\nraise E()",
        "its text cannot be had"),
    "its exception says a number": (
        "class E(Exception):\n    def __str__(self): return 5\nraise E()",
        "its text cannot be had"),
    "its exception is called by an escape": (
        "raise type('\\x1b[31mred', (Exception,), {})('\\x1b[2J\\r\\n::error::no')",
        "\\x1b[31mred"),
    "a shape that raises": (
        "class Y:\n    dtype = 1\n    @property\n    def shape(self): raise ValueError\nreturn Y()",
        "where an array is due"),
    "a dtype that raises": (
        "class Y:\n    @property\n    def dtype(self): raise ValueError('dtype')\nreturn Y()",
        "Tanh 1 wrong"),
    "a class that lies": (
        "class Y:\n    @property\n    def __class__(self): return torch.Tensor\nreturn Y()",
        "Tanh 1 wrong"),
    "comparisons that raise": (
        "class Y(torch.Tensor):\n    def __eq__(self, other): raise ValueError\n"
        "return self.y.as_subclass(Y)", ""),
    "a chain of causes": (
        "error = None\nfor i in range(3000):\n    new = ValueError(i); new.__cause__ = error; "
        "error = new\nraise error", "raises ValueError: 2999"),
    "a group of exceptions": (
        "raise ValueError('many', [ValueError('x' * 10**5)] * 100)", "raises ValueError"),
    "a list in a circle": ("y = []; y.append(y); return y", "Tanh 1 wrong"),
    "a number without end": ("return [[float('inf')] * 5] * 7", "Tanh 1 wrong"),
}  # fmt: skip
for name, (does, says) in TRAPS.items():
    right = name == "comparisons that raise"
    layer("traps", name, says or "Tanh 1 passed", code=0 if right else 1, forward=does,
          never=("Traceback", "\x1b", "\n::"), worst="escape" in name)  # fmt: skip
layer("traps", "every attribute is there", "Tanh", forward="", code=0,
      bottom="Tanh.__getattr__ = lambda self, name: (lambda *a, **k: None)")  # fmt: skip
layer("traps", "no truth and no length", "Tanh 1 passed", code=0,
      bottom="Tanh.__bool__ = Tanh.__len__ = lambda self: 1 / 0")  # fmt: skip
