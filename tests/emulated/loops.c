/* loops.c - loops whose cycles on a C906 are known, to check the timing model against.
 * usage: loops LOOP N     runs what loop number LOOP repeats 8 N times */
#include <stdint.h>
#include <stdlib.h>

static char memory[1 << 22];

#define LOOP(setup, instruction)                                                                                             \
    __asm__ volatile(".option push\n.option arch, +v\n"                                                                      \
                 "mv t0, %0\n li t2, 1024\n mv t3, %1\n" setup "\n"                                                          \
                 "1: .rept 8\n" instruction "\n .endr\n addi t0, t0, -1\n bnez t0, 1b\n.option pop"                          \
                 : : "r"(n), "r"(memory) : "t0", "t1", "t2", "t3", "ft0", "ft1", "ft2", "memory")

int main(int argc, char **argv)
{
    long n = atol(argv[argc - 1]);
    *(char **)memory = memory;
    switch (atoi(argv[1])) {
    case 0: LOOP("vsetvli t1, t2, e32, m1, ta, ma", "vadd.vv v8, v16, v24"); break;
    case 1: LOOP("vsetvli t1, t2, e32, m2, ta, ma", "vadd.vv v8, v16, v24"); break;
    case 2: LOOP("vsetvli t1, t2, e32, m4, ta, ma", "vadd.vv v8, v16, v24"); break;
    case 3: LOOP("vsetvli t1, t2, e32, m8, ta, ma", "vadd.vv v8, v16, v24"); break;
    case 4: LOOP("vsetvli t1, t2, e8, m2, ta, ma", "vwmacc.vx v8, t2, v16"); break;
    case 5: LOOP("vsetvli t1, t2, e32, m8, ta, ma", "vredsum.vs v8, v16, v24"); break;
    case 6: LOOP("vsetvli t1, t2, e32, m8, ta, ma", "vfredmax.vs v8, v16, v24\n vfredmax.vs v9, v16, v24"); break;
    case 7: LOOP("vsetvli t1, t2, e32, m1, ta, ma", "vfdiv.vv v8, v16, v24"); break;
    case 8: LOOP("", "vsetvli t1, t2, e8, m1, ta, ma"); break;
    case 9: LOOP("", "add t1, t1, t2"); break;
    case 10: LOOP("", "ld t3, 0(t3)"); break;
    case 11: LOOP("", "fmadd.d ft0, ft2, ft2, ft1\n fmadd.d ft1, ft2, ft2, ft0"); break;
    case 12: LOOP("", "lw t1, 0(t3)\n addi t3, t3, 64"); break;   /* a cache line each, from memory */
    default: return 2;
    }
    return 0;
}
