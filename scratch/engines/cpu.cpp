// Whole trainings in one call: what scratch's layers, losses and optimizers do, one mini-batch
// after another, for many runs. Every formula is that of the eager class of the same name.
//
// Layout. T is float or double, and a row of numbers is padded to a multiple of a vector's lanes.
// What stands in the padding is never read into a lane that counts. A batch is [B][pad(width)].
// A Linear's parameters are [in][pad(out)], its weight transposed to P, then the bias, one more
// row. So y = x @ P, dP = x' @ dy and dx = dy @ W, for which W, [out][pad(in)], is transposed
// back once a step, are products of one kind: a vector of columns by one number at a time.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

// A loop in a function of its own has the registers to itself.
#define APART __attribute__((noinline))

namespace {  // nothing but what is at the end is seen from outside

#if defined(__AVX512F__)
constexpr int BYTES = 64;
#elif defined(__AVX__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif

template <class T>
struct Simd {
    static constexpr int L = BYTES / sizeof(T);
    typedef T V __attribute__((vector_size(BYTES)));
    typedef std::conditional_t<sizeof(T) == 4, int32_t, int64_t> Int;
    typedef Int I __attribute__((vector_size(BYTES)));
    typedef uint32_t Words __attribute__((vector_size(4 * L)));
};
template <class T> using Vec = typename Simd<T>::V;
template <class T> constexpr int lanes = Simd<T>::L;
template <class T> static int pad(int width) { return (width + lanes<T> - 1) / lanes<T> * lanes<T>; }
template <class T> static Vec<T> load(const T* from) { Vec<T> v; std::memcpy(&v, from, BYTES); return v; }
template <class T> static void store(T* to, Vec<T> v) { std::memcpy(to, &v, BYTES); }
template <class T> static Vec<T> all(T value) { return Vec<T>{} + value; }

// ---- what Python passes; the fields are those of the ctypes structures in cpu.py ----

enum Kind : int32_t { LINEAR, RELU, LEAKY_RELU, ELU, SIGMOID, TANH, SOFTMAX, LOG_SOFTMAX, DROPOUT };
enum Criterion : int32_t { MSE, L1, BCE, BCE_LOGITS, CROSS_ENTROPY, CROSS_ENTROPY_INDEX };
enum Rule : int32_t { SGD, ADAM, ADAMW };

struct Layer {
    Kind kind;
    int32_t in, out;    // widths; the same but for a Linear
    int32_t bias;         // of a Linear: 1 if it has one
    int32_t over_batch;   // of a softmax: 1 if it runs over the batch
    int32_t stream;       // of a Dropout: its place among those of the model
    int64_t offset;       // of a Linear: where its parameters begin
    double alpha, scale;  // of an activation; of a Dropout its bound for words, and the share kept
};

struct Training {
    const Layer* layers;
    int32_t count;
    Criterion criterion;
    int32_t mean;  // whether the loss is a mean
    double eps;    // of BCE
    Rule rule;
    int32_t nesterov, amsgrad, maximize;
    double lr, momentum, dampening, beta1, beta2, adam_eps, weight_decay;
    int64_t steps;    // that the optimizer has made before
    int32_t started;  // whether SGD has its momentum from them
    int32_t base;     // the epoch that they were before
    int32_t samples, batch, features, outputs;
    int64_t parameters;         // of one run, padded
    int64_t x_stride, t_stride; // from one run's data to the next one's: 0 if they share it
    const void *x, *t;          // [N][features]; [N][outputs], or int64 [N]
    void *p, *g, *first, *second, *largest;  // [R][parameters]: values, gradients, the rule's state
    const uint64_t* seeds;      // [R]
    void* trace;                // for `pass`: of each layer its y, then its dy
    double low, high;           // the range of a prediction that BCE refuses
};

// ---- Philox 4x32-10 (Salmon et al. 2011), as philox.py has it ----

typedef uint64_t Counters __attribute__((vector_size(BYTES)));  // one word in each
constexpr int GROUP = BYTES / 8;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "two words are stored as one number");

// The pairs of words of GROUP / 2 counters, from `begin`: a and b, then c and d.
template <int... I> static Counters pairs(Counters ab, Counters cd, int begin, std::integer_sequence<int, I...>) {
    return begin ? __builtin_shufflevector(ab, cd, (GROUP / 2 + I / 2 + (I % 2 ? GROUP : 0))...)
                 : __builtin_shufflevector(ab, cd, (I / 2 + (I % 2 ? GROUP : 0))...);
}

// Words 0 to count - 1, and up to 4 * GROUP - 1 more.
static void philox(uint64_t seed, uint64_t c1, uint64_t c2, uint64_t c3, uint32_t* words, int64_t count) {
    constexpr uint64_t LOW = 0xFFFFFFFF;
    Counters lane;
    for (int i = 0; i < GROUP; i++) lane[i] = i;
    for (int64_t start = 0; start * 4 < count; start += GROUP) {
        Counters a = lane + uint64_t(start), b = Counters{} + c1, c = Counters{} + c2, d = Counters{} + c3;
        uint64_t k0 = seed & LOW, k1 = seed >> 32;
        for (int round = 0; round < 10; round++) {
            Counters m0 = a * 0xD2511F53u, m1 = c * 0xCD9E8D57u;
            a = (m1 >> 32) ^ b ^ k0, b = m1 & LOW;
            c = (m0 >> 32) ^ d ^ k1, d = m0 & LOW;
            k0 = (k0 + 0x9E3779B9u) & LOW, k1 = (k1 + 0xBB67AE85u) & LOW;
        }
        constexpr auto every = std::make_integer_sequence<int, GROUP>{};
        for (int begin = 0; begin < GROUP; begin += GROUP / 2, words += 2 * GROUP) {
            Counters drawn = pairs(a | b << 32, c | d << 32, begin, every);
            std::memcpy(words, &drawn, BYTES);
        }
    }
}

// The order of an epoch: a stable sort of a word for each sample (least digit first).
struct Shuffle {
    std::vector<uint32_t> words, order, other;
    explicit Shuffle(int samples) : words(samples + 4 * GROUP), order(samples), other(samples) {}

    const uint32_t* epoch(uint64_t seed, uint32_t number) {
        philox(seed, 0, number, 0, words.data(), order.size());
        for (uint32_t i = 0; i < order.size(); i++) order[i] = i;
        for (int shift = 0; shift < 32; shift += 8) {
            uint32_t places[257] = {};
            for (uint32_t i : order) places[(words[i] >> shift & 255) + 1]++;
            for (int digit = 0; digit < 256; digit++) places[digit + 1] += places[digit];
            for (uint32_t i : order) other[places[words[i] >> shift & 255]++] = i;
            order.swap(other);
        }
        return order.data();
    }
};

// ---- functions of one vector ----

template <class T> struct Reduction;  // x = n * ln 2 + r, |r| <= ln 2 / 2
template <> struct Reduction<float> {
    static constexpr float HIGH = 0.693359375f, LOW = -2.12194440e-4f, MOST = 89, LEAST = -104, GONE = -20;
    static constexpr int TERMS = 7, MANTISSA = 23, BIAS = 127;
};
template <> struct Reduction<double> {
    static constexpr double HIGH = 0.693145751953125, LOW = 1.42860682030941723212e-6, MOST = 710, LEAST = -746, GONE = -40;
    static constexpr int TERMS = 13, MANTISSA = 52, BIAS = 1023;
};

template <class T> static Vec<T> power_of_two(typename Simd<T>::I n) {
    auto bits = (n + Reduction<T>::BIAS) << Reduction<T>::MANTISSA;
    Vec<T> v;
    std::memcpy(&v, &bits, BYTES);
    return v;
}

// e^r - 1 by its series, and n, of x = n * ln 2 + r.
template <class T> static Vec<T> reduced(Vec<T> x, typename Simd<T>::I& n) {
    using R = Reduction<T>;
    Vec<T> shifted = x * T(1.4426950408889634) + (x < 0 ? all<T>(-0.5) : all<T>(0.5));
    n = __builtin_convertvector(shifted, typename Simd<T>::I);
    Vec<T> whole = __builtin_convertvector(n, Vec<T>);
    Vec<T> r = x - whole * R::HIGH - whole * R::LOW, sum{};
    T factor[R::TERMS + 1] = {1};
    for (int i = 1; i <= R::TERMS; i++) factor[i] = factor[i - 1] / i;
    for (int i = R::TERMS; i >= 2; i--) sum = sum * r + factor[i];
    return sum * r * r + r;
}

template <class T> static Vec<T> exp(Vec<T> x) {
    using R = Reduction<T>;
    x = x > R::MOST ? all<T>(R::MOST) : x;
    x = x < R::LEAST ? all<T>(R::LEAST) : x;
    typename Simd<T>::I n;
    Vec<T> e = reduced<T>(x, n) + 1;
    auto half = n >> 1;  // in two factors: 2^n may lie outside what T holds
    return e * power_of_two<T>(half) * power_of_two<T>(n - half);
}

// e^x - 1 for x <= 0.
template <class T> static Vec<T> expm1(Vec<T> x) {
    x = x < Reduction<T>::GONE ? all<T>(Reduction<T>::GONE) : x;
    typename Simd<T>::I n;
    Vec<T> e = reduced<T>(x, n), power = power_of_two<T>(n);
    return power * e + (power - 1);
}

template <class T> static Vec<T> sigmoid(Vec<T> x) { return 1 / (1 + exp<T>(-x)); }

template <class T> static Vec<T> tanh(Vec<T> x) {
    Vec<T> e = expm1<T>(x > 0 ? -2 * x : 2 * x), y = -e / (2 + e);
    return x < 0 ? -y : y;
}

// ---- products of matrices: C[m][:] = start[:] + sum over k of A[m][k] * B[k][:] ----

// The strides of A are am and ak: it may be transposed. A block of C stays in registers.
template <class T> struct Product {
    const T *a, *b, *start;
    T* c;
    int64_t am, ak, bk, cm;
    int depth;

    template <int M, int N> void block(int m0, int n0) const {
        Vec<T> sum[M][N];
        for (int m = 0; m < M; m++)
            for (int n = 0; n < N; n++) sum[m][n] = start ? load<T>(start + n0 + n * lanes<T>) : Vec<T>{};
        const T *left = a + m0 * am, *right = b + n0;
        for (int k = 0; k < depth; k++, left += ak, right += bk) {
            Vec<T> row[N];
            for (int n = 0; n < N; n++) row[n] = load<T>(right + n * lanes<T>);
            for (int m = 0; m < M; m++)
                for (int n = 0; n < N; n++) sum[m][n] += left[m * am] * row[n];
        }
        for (int m = 0; m < M; m++)
            for (int n = 0; n < N; n++) store<T>(c + (m0 + m) * cm + n0 + n * lanes<T>, sum[m][n]);
    }

    template <int N> void columns(int rows, int n0) const {
        int m0 = 0;
        for (int blocks = (rows + 7) / 8; blocks; blocks--) {  // as even as can be
            int height = (rows - m0 + blocks - 1) / blocks;
            switch (height) {
                case 1: block<1, N>(m0, n0); break;
                case 2: block<2, N>(m0, n0); break;
                case 3: block<3, N>(m0, n0); break;
                case 4: block<4, N>(m0, n0); break;
                case 5: block<5, N>(m0, n0); break;
                case 6: block<6, N>(m0, n0); break;
                case 7: block<7, N>(m0, n0); break;
                case 8: block<8, N>(m0, n0); break;
            }
            m0 += height;
        }
    }

    void operator()(int rows, int width) const {
        int n = 0;
        for (; n + 2 * lanes<T> <= width; n += 2 * lanes<T>) columns<2>(rows, n);
        if (n < width) columns<1>(rows, n);
    }
};

// Of two rows, the halves that a transposition exchanges: H apart, the one or the other.
template <class T, int H, int... I> static Vec<T> upper(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (I & H ? lanes<T> + I - H : I)...);
}
template <class T, int H, int... I> static Vec<T> lower(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (I & H ? lanes<T> + I : I + H)...);
}
template <class T, int H> static void exchange(Vec<T>* rows) {
    constexpr auto every = std::make_integer_sequence<int, lanes<T>>{};
    for (int i = 0; i < lanes<T>; i++)
        if (!(i & H)) {
            Vec<T> a = rows[i], b = rows[i + H];
            rows[i] = upper<T, H>(a, b, every), rows[i + H] = lower<T, H>(a, b, every);
        }
    if constexpr (H > 1) exchange<T, H / 2>(rows);
}

// to[o][i] = from[i][o], in squares of vectors.
template <class T> static void transpose(const T* from, int in, int out, T* to) {
    constexpr int L = lanes<T>;
    int stride = pad<T>(out), width = pad<T>(in);
    for (int i0 = 0; i0 < in; i0 += L)
        for (int o0 = 0; o0 < out; o0 += L) {
            Vec<T> square[L] = {};
            for (int i = 0; i < std::min(L, in - i0); i++) square[i] = load<T>(from + (i0 + i) * stride + o0);
            exchange<T, L / 2>(square);
            for (int o = 0; o < std::min(L, out - o0); o++) store<T>(to + (o0 + o) * width + i0, square[o]);
        }
}

// ---- a thread's work: one run after another ----

template <class T> struct Buffer {
    T* data;
    explicit Buffer(int64_t size) : data(new (std::align_val_t(64)) T[size]()) {}
    ~Buffer() { operator delete[](data, std::align_val_t(64)); }
    Buffer(const Buffer&) = delete;
};

template <class T> struct Worker {
    using V = Vec<T>;
    static constexpr int L = lanes<T>;
    const Training& job;
    const int width;      // of the widest layer, padded
    const int64_t plane;  // the size of a batch of it
    std::vector<uint32_t> words;
    Shuffle shuffle;
    Buffer<T> ys, masks, dys, transposed;  // ys: the batch, and the output of each layer
    // Of the run, and of the step:
    T *__restrict p = nullptr, *__restrict g = nullptr;
    const uint32_t* order = nullptr;
    uint64_t seed = 0;
    int64_t run = 0;
    int rows = 0;

    static int widest(const Training& job) {
        int width = 0;
        for (int i = 0; i < job.count; i++) width = std::max({width, job.layers[i].in, job.layers[i].out});
        return pad<T>(width);
    }

    explicit Worker(const Training& job)
        : job(job), width(widest(job)), plane(int64_t(job.batch) * width), words(plane + 8 * GROUP), shuffle(job.samples),
          ys(plane * (job.count + 1)), masks(plane * job.count), dys(plane * 2), transposed(int64_t(width) * width) {}

    T* output(int layer) { return ys.data + plane * (layer + 1); }  // of layer -1: the batch

    // What `function` makes of each vector of a batch, or of two.
    template <class F> APART void each(const T* x, T* to, int columns, F function) const {
        for (int64_t i = 0, end = int64_t(rows) * pad<T>(columns); i < end; i += L) store<T>(to + i, function(load<T>(x + i)));
    }
    template <class F> APART void each(const T* x, const T* z, T* to, int columns, F function) const {
        for (int64_t i = 0, end = int64_t(rows) * pad<T>(columns); i < end; i += L)
            store<T>(to + i, function(load<T>(x + i), load<T>(z + i)));
    }

    void forward(int place, uint32_t epoch, uint32_t step) {
        const Layer& layer = job.layers[place];
        const T *x = output(place - 1), alpha = T(layer.alpha), scale = T(layer.scale);
        T* y = output(place);
        switch (layer.kind) {
            case LINEAR: {
                const T* weight = p + layer.offset;
                int in = pad<T>(layer.in), out = pad<T>(layer.out);
                const T* bias = layer.bias ? weight + int64_t(layer.in) * out : nullptr;
                Product<T>{x, weight, bias, y, in, 1, out, out, layer.in}(rows, out);
                break;
            }
            case RELU: each(x, y, layer.out, [](V x) { return x <= 0 ? V{} : x; }); break;
            case LEAKY_RELU: each(x, y, layer.out, [=](V x) { return x > 0 ? x : alpha * x; }); break;
            case ELU: each(x, y, layer.out, [=](V x) { return scale * (x > 0 ? x : alpha * expm1<T>(x)); }); break;
            case SIGMOID: each(x, y, layer.out, [=](V x) { return sigmoid<T>(scale * x); }); break;
            case TANH: each(x, y, layer.out, [](V x) { return tanh<T>(x); }); break;
            case SOFTMAX: softmax(layer, x, y); break;
            case LOG_SOFTMAX: softmax(layer, x, y); break;
            case DROPOUT: {
                T* mask = masks.data + plane * place;
                draw(layer, epoch, step, mask);
                each(x, mask, y, layer.out, [](V x, V mask) { return x * mask; });
                break;
            }
        }
    }

    // d loss / d x from d loss / d y; nothing but the gradients where `dx` is null.
    void backward(int place, const T* dy, T* dx) {
        const Layer& layer = job.layers[place];
        const T *x = output(place - 1), *y = output(place), alpha = T(layer.alpha), scale = T(layer.scale);
        if (layer.kind == LINEAR) {
            T* gradient = g + layer.offset;
            int in = pad<T>(layer.in), out = pad<T>(layer.out);
            Product<T>{x, dy, nullptr, gradient, 1, in, out, out, rows}(layer.in, out);
            if (layer.bias) sum_of_rows(dy, out, gradient + int64_t(layer.in) * out);
            if (!dx) return;
            transpose<T>(p + layer.offset, layer.in, layer.out, transposed.data);
            Product<T>{dy, transposed.data, nullptr, dx, out, 1, in, in, layer.out}(rows, in);
            return;
        }
        if (!dx) return;
        switch (layer.kind) {
            case LINEAR: break;
            case RELU: each(dy, y, dx, layer.out, [](V dy, V y) { return y == 0 ? V{} : dy; }); break;
            case LEAKY_RELU: each(dy, x, dx, layer.out, [=](V dy, V x) { return x > 0 ? dy : alpha * dy; }); break;
            case ELU:
                each(dy, x, dx, layer.out, [=](V dy, V x) { return scale * (x > 0 ? dy : alpha * exp<T>(x) * dy); });
                break;
            case SIGMOID: each(dy, y, dx, layer.out, [=](V dy, V y) { return scale * dy * y * (1 - y); }); break;
            case TANH: each(dy, y, dx, layer.out, [](V dy, V y) { return dy * (1 - y * y); }); break;
            case SOFTMAX: softmax_backward(layer, dy, y, dx); break;
            case LOG_SOFTMAX: softmax_backward(layer, dy, y, dx); break;
            case DROPOUT:
                each(dy, masks.data + plane * place, dx, layer.out, [](V dy, V mask) { return dy * mask; });
                break;
        }
    }

    void sum_of_rows(const T* dy, int columns, T* to) const {
        for (int n = 0; n < columns; n += L) {
            V sum{};
            for (int row = 0; row < rows; row++) sum += load<T>(dy + int64_t(row) * columns + n);
            store<T>(to + n, sum);
        }
    }

    // The words of entry e = row * width + column are 4 to a counter, e / 4.
    void draw(const Layer& layer, uint32_t epoch, uint32_t step, T* mask) {
        using Words = typename Simd<T>::Words;
        philox(seed, step, epoch, layer.stream, words.data(), int64_t(rows) * layer.out);
        bool whole = layer.alpha > 4294967295.0;  // every word is below it
        Words below = Words{} + uint32_t(whole ? 0 : layer.alpha);
        V kept = all<T>(T(1) / T(layer.scale));
        for (int row = 0; row < rows; row++)
            for (int column = 0; column < layer.out; column += L, mask += L) {
                Words drawn;
                std::memcpy(&drawn, &words[int64_t(row) * layer.out + column], sizeof drawn);
                auto chosen = __builtin_convertvector(drawn < below, typename Simd<T>::I);
                store<T>(mask, whole || chosen != 0 ? kept : V{});
            }
    }

    // One group after another that adds up to 1: the columns of a row, or the rows of a column.
    template <class F> void groups(const Layer& layer, F function) const {
        int64_t stride = pad<T>(layer.out);
        for (int i = 0; i < (layer.over_batch ? layer.out : rows); i++)
            layer.over_batch ? function(int64_t(i), rows, stride) : function(i * stride, layer.out, int64_t(1));
    }

    void softmax(const Layer& layer, const T* x, T* y) const {
        bool logarithm = layer.kind == LOG_SOFTMAX;
        groups(layer, [=](int64_t at, int count, int64_t by) {
            T most = x[at];
            for (int i = 1; i < count; i++) most = x[at + i * by] > most ? x[at + i * by] : most;
            for (int i = 0; i < count; i++) y[at + i * by] = x[at + i * by] - most;
        });
        if (!logarithm) each(y, y, layer.out, [](V x) { return exp<T>(x); });
        groups(layer, [=](int64_t at, int count, int64_t by) {
            T sum = 0;
            for (int i = 0; i < count; i++) sum += logarithm ? std::exp(y[at + i * by]) : y[at + i * by];
            if (logarithm) sum = std::log(sum);
            for (int i = 0; i < count; i++) y[at + i * by] = logarithm ? y[at + i * by] - sum : y[at + i * by] / sum;
        });
    }

    void softmax_backward(const Layer& layer, const T* dy, const T* y, T* dx) const {
        bool logarithm = layer.kind == LOG_SOFTMAX;
        groups(layer, [=](int64_t at, int count, int64_t by) {
            T sum = 0;
            for (int i = 0; i < count; i++) sum += logarithm ? dy[at + i * by] : dy[at + i * by] * y[at + i * by];
            for (int i = 0; i < count; i++) {
                int64_t k = at + i * by;
                dx[k] = logarithm ? dy[k] - std::exp(y[k]) * sum : y[k] * (dy[k] - sum);
            }
        });
    }

    // d loss / d prediction; false where BCE refuses the prediction.
    bool loss(const T* x, T* dx, Training& status, std::atomic<bool>& failed) const {
        int columns = job.outputs, stride = pad<T>(columns);
        const uint32_t* samples = order;
        T divisor = 1, eps = T(job.eps);
        bool classes = job.criterion == CROSS_ENTROPY || job.criterion == CROSS_ENTROPY_INDEX;
        if (job.mean) divisor = T(int64_t(rows) * (classes ? 1 : columns));
        T low = rows ? x[0] : 0, high = low;
        for (int row = 0; row < rows; row++, x += stride, dx += stride) {
            const T* t = (const T*)job.t + run * job.t_stride + int64_t(samples[row]) * columns;
            T sum = 0, weight = 0, most = x[0];
            if (classes) {
                for (int i = 1; i < columns; i++) most = x[i] > most ? x[i] : most;
                for (int i = 0; i < columns; i++) dx[i] = std::exp(x[i] - most), sum += dx[i];
            }
            switch (job.criterion) {
                case MSE: for (int i = 0; i < columns; i++) dx[i] = (x[i] - t[i]) + (x[i] - t[i]); break;
                case L1: for (int i = 0; i < columns; i++) dx[i] = x[i] > t[i] ? 1 : x[i] < t[i] ? -1 : x[i] - t[i]; break;
                case BCE:
                    for (int i = 0; i < columns; i++) {
                        if (x[i] < low || std::isnan(x[i])) low = x[i];  // and stays so
                        if (x[i] > high || std::isnan(x[i])) high = x[i];
                        T least = T(9.999999960041972e-13), spread = x[i] * (1 - x[i]);
                        dx[i] = eps > 0 ? (1 - t[i]) / (1 - x[i] + eps) - t[i] / (x[i] + eps)
                                        : (x[i] - t[i]) / (spread < least ? least : spread);
                    }
                    break;
                case BCE_LOGITS: for (int i = 0; i < columns; i++) dx[i] = 1 / (1 + std::exp(-x[i])) - t[i]; break;
                case CROSS_ENTROPY:
                    for (int i = 0; i < columns; i++) weight += t[i];
                    for (int i = 0; i < columns; i++) dx[i] = dx[i] / sum * weight - t[i];
                    break;
                case CROSS_ENTROPY_INDEX: {
                    int64_t label = ((const int64_t*)job.t)[run * job.t_stride + samples[row]];
                    for (int i = 0; i < columns; i++) dx[i] = dx[i] / sum - (i == label);
                    break;
                }
            }
            for (int i = 0; i < columns; i++) dx[i] /= divisor;
        }
        if (job.criterion != BCE || (low >= 0 && high <= 1)) return true;
        if (!failed.exchange(true)) status.low = low, status.high = high;
        return false;
    }

    // Moves p by g: the update of the class of that name in optim.py. `t` counts from 1.
    void update(int64_t t) const {
        int64_t begin = run * job.parameters;
        T *first = (T*)job.first + begin, *second = (T*)job.second + begin, *largest = (T*)job.largest + begin;
        using Yes = std::true_type;
        using No = std::false_type;
        if (job.rule == SGD) job.momentum != 0 ? sgd(t, first, Yes{}) : sgd(t, g, No{});
        else job.amsgrad ? adam(t, first, second, largest, Yes{}) : adam(t, first, second, nullptr, No{});
    }

    template <class Momentum> void sgd(int64_t t, T* __restrict first, Momentum with_momentum) const {
        T sign = job.maximize ? -1 : 1, decay = T(job.weight_decay), lr = T(job.lr), momentum = T(job.momentum);
        T fresh = job.started || t > job.steps + 1 ? T(1 - job.dampening) : 1;
        for (int64_t i = 0; i < job.parameters; i++) {
            T d = decay != 0 ? sign * g[i] + decay * p[i] : sign * g[i];
            if (with_momentum) {
                first[i] = momentum * first[i] + fresh * d;
                d = job.nesterov ? d + momentum * first[i] : first[i];
            }
            p[i] -= lr * d;
        }
    }

    template <class Amsgrad> void adam(int64_t t, T* __restrict first, T* __restrict second, T* largest, Amsgrad amsgrad) const {
        T sign = job.maximize ? -1 : 1, decay = T(job.rule == ADAMW ? 0 : job.weight_decay), eps = T(job.adam_eps);
        T shrink = T(job.rule == ADAMW ? 1 - job.lr * job.weight_decay : 1);
        T one = T(1 - job.beta1), two = T(1 - job.beta2), rate = T(job.lr / (1 - std::pow(job.beta1, double(t))));
        T correction = T(1 / std::sqrt(1 - std::pow(job.beta2, double(t))));
        for (int64_t i = 0; i < job.parameters; i++) {
            T value = shrink * p[i], d = decay != 0 ? sign * g[i] + decay * value : sign * g[i];
            T mean = first[i] + one * (d - first[i]), square = second[i] + two * (d * d - second[i]);
            first[i] = mean, second[i] = square;
            if (amsgrad) largest[i] = square = largest[i] < square ? square : largest[i];
            p[i] = value - rate * mean / (std::sqrt(square) * correction + eps);
        }
    }

    void gather() {
        T* x = output(-1);
        const T* data = (const T*)job.x + run * job.x_stride;
        for (int row = 0; row < rows; row++, x += pad<T>(job.features))
            for (int i = 0; i < job.features; i++) x[i] = data[int64_t(order[row]) * job.features + i];
    }

    // From d loss / d prediction in `dys` to the gradients; to d loss / d x too if it is asked for.
    const T* backward(bool input) {
        T *dy = dys.data, *dx = dys.data + plane;
        for (int place = job.count - 1; place >= 0; place--, std::swap(dy, dx)) {
            if (job.trace) std::copy_n(dy, plane, (T*)job.trace + plane * (2 * place + 1));
            backward(place, dy, place > 0 || input ? dx : nullptr);
        }
        return dy;
    }

    bool step(uint32_t epoch, uint32_t number, int64_t t, Training& status, std::atomic<bool>& failed) {
        gather();
        for (int place = 0; place < job.count; place++) forward(place, epoch, number);
        if (!loss(output(job.count - 1), dys.data, status, failed)) return false;
        backward(false);
        update(t);
        return true;
    }

    void begin(int64_t run) {
        this->run = run, seed = job.seeds[run];
        p = (T*)job.p + run * job.parameters, g = (T*)job.g + run * job.parameters;
    }

    // One step without its update, from `dy` if it is given and else from the loss; all of it traced.
    bool pass(const T* dy, T* dx, Training& status) {
        std::atomic<bool> failed{false};
        begin(0);
        std::vector<uint32_t> unchanged(job.samples);
        for (int i = 0; i < job.samples; i++) unchanged[i] = i;
        order = unchanged.data(), rows = job.samples;
        gather();
        for (int place = 0; place < job.count; place++) {
            forward(place, 1, 0);
            std::copy_n(output(place), plane, (T*)job.trace + plane * 2 * place);
        }
        if (dy) std::copy_n(dy, int64_t(rows) * pad<T>(job.outputs), dys.data);
        else if (!loss(output(job.count - 1), dys.data, status, failed)) return false;
        std::copy_n(backward(true), int64_t(rows) * pad<T>(job.features), dx);
        return true;
    }

    bool epochs(int64_t run, int first, int last, Training& status, std::atomic<bool>& failed) {
        begin(run);
        int batches = (job.samples + job.batch - 1) / job.batch;
        int64_t t = job.steps + int64_t(first - job.base) * batches;
        for (int epoch = first; epoch <= last; epoch++) {
            order = shuffle.epoch(seed, epoch);
            for (int number = 0; number < batches; number++, order += job.batch) {
                rows = std::min(job.batch, job.samples - number * job.batch);
                if (failed || !step(epoch, number, ++t, status, failed)) return false;
            }
        }
        return true;
    }
};

template <class T> static int train(Training& job, int first_run, int last_run, int first, int last, int threads) {
    std::atomic<int> next{first_run};
    std::atomic<bool> failed{false}, no_memory{false};
    auto work = [&] {
        try {
            Worker<T> worker(job);
            for (int run; (run = next++) < last_run;)
                if (!worker.epochs(run, first, last, job, failed)) return;
        } catch (const std::bad_alloc&) {
            no_memory = true;
        }
    };
    std::vector<std::thread> others;
    for (int i = 1; i < std::min(threads, last_run - first_run); i++) others.emplace_back(work);
    work();
    for (auto& thread : others) thread.join();
    return no_memory ? 2 : int(failed.load());
}

template <class T> static int pass(Training& job, const T* dy, T* dx) {
    try {
        return !Worker<T>(job).pass(dy, dx, job);
    } catch (const std::bad_alloc&) {
        return 2;
    }
}

}  // namespace

// ---- what Python calls ----

#define EXPORTED(T)                                                                                            \
    /* Trains runs first_run to last_run - 1 in epochs first to last; 1: BCE refused; 2: no memory. */         \
    int scratch_train_##T(Training* job, int first_run, int last_run, int first, int last, int threads) {      \
        return train<T>(*job, first_run, last_run, first, last, threads);                                      \
    }                                                                                                          \
    int scratch_pass_##T(Training* job, const T* dy, T* dx) { return pass<T>(*job, dy, dx); }                  \
    int scratch_lanes_##T() { return lanes<T>; }

extern "C" {
EXPORTED(float)
EXPORTED(double)
}
