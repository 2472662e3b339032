// The processor's peak multiply-add rate: sums in registers, each waiting for none of the others.

#include <chrono>

#if defined(__AVX512F__)
constexpr int BYTES = 64;
#elif defined(__AVX__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif
typedef float V __attribute__((vector_size(BYTES)));

extern "C" double multiply_adds_a_second() {
    constexpr int SUMS = 12, ROUNDS = 20000000;
    V sums[SUMS], a, b;
    for (int i = 0; i < SUMS; i++) sums[i] = V{} + float(i);
    a = V{} + 0.999f, b = V{} + 0.001f;
    asm volatile("" : "+m"(a), "+m"(b));
    auto start = std::chrono::steady_clock::now();
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < SUMS; i++) sums[i] = sums[i] * a + b;
    std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    for (int i = 0; i < SUMS; i++) asm volatile("" : : "m"(sums[i]));
    return double(ROUNDS) * SUMS * (BYTES / sizeof(float)) / seconds.count();
}
