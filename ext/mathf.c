#include "mathf.h"

const uint64_t duo_exp_table[DUO_EXP_N] = {
    0x3ff0000000000000, 0x3fefd9b0d3158574, 0x3fefb5586cf9890f, 0x3fef9301d0125b51,
    0x3fef72b83c7d517b, 0x3fef54873168b9aa, 0x3fef387a6e756238, 0x3fef1e9df51fdee1,
    0x3fef06fe0a31b715, 0x3feef1a7373aa9cb, 0x3feedea64c123422, 0x3feece086061892d,
    0x3feebfdad5362a27, 0x3feeb42b569d4f82, 0x3feeab07dd485429, 0x3feea47eb03a5585,
    0x3feea09e667f3bcd, 0x3fee9f75e8ec5f74, 0x3feea11473eb0187, 0x3feea589994cce13,
    0x3feeace5422aa0db, 0x3feeb737b0cdc5e5, 0x3feec49182a3f090, 0x3feed503b23e255d,
    0x3feee89f995ad3ad, 0x3feeff76f2fb5e47, 0x3fef199bdd85529c, 0x3fef3720dcef9069,
    0x3fef5818dcfba487, 0x3fef7c97337b9b5f, 0x3fefa4afa2a490da, 0x3fefd0765b6e4540,
};

/* pi/2 in two parts; the first has 33 bits, so that its product with a 20-bit whole number is exact. */
static const double two_over_pi = 0x1.45f306dc9c883p-1;
static const double half_pi_high = 0x1.921fb544p+0, half_pi_low = 0x1.0b4611a626331p-34;

static double sine_poly(double x)
{
    double x2 = x * x, x3 = x * x2;
    double tail = 0x1.1107605230bc4p-7 + x2 * -0x1.994eb3774cf24p-13;
    return (x + x3 * -0x1.555545995a603p-3) + (x3 * x2) * tail;
}

static double cosine_poly(double x)
{
    double x2 = x * x, x4 = x2 * x2;
    double tail = -0x1.6c087e89a359dp-10 + x2 * 0x1.99343027bf8c3p-16;
    return ((1.0 + x2 * -0x1.ffffffd0c621cp-2) + x4 * 0x1.55553e1068f19p-5) + (x4 * x2) * tail;
}

void duo_sincosf(float x, float *sine, float *cosine)
{
    double n = nearbyint(x * two_over_pi);
    double r = (x - n * half_pi_high) - n * half_pi_low;
    float s = (float)sine_poly(r), c = (float)cosine_poly(r);
    switch ((int)n & 3) {
    case 0: *sine = s, *cosine = c; break;
    case 1: *sine = c, *cosine = -s; break;
    case 2: *sine = -s, *cosine = -c; break;
    default: *sine = -c, *cosine = s; break;
    }
}
