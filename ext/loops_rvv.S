/* loops_rvv.S - the RISC-V vector loops, written once and assembled twice: for RVV 1.0 and for RVV 0.7.1 (T-Head C906).
 *
 * The two versions differ in vtype and in the encoding of loads, stores and conversions; what else is used here is the same
 * in both. All of it is written with .insn, so that an assembler needs to know neither. No instruction has more than 32
 * elements, which the group of registers it uses holds at 128 bits, so longer registers work too; nothing depends on what
 * lies behind the last element.
 *
 * Prototypes and meaning are in kernels_rvv.c.
 */
#if defined(__riscv) && !defined(RVV)

/* .insn wants x or f registers; a vector register is the x register of its number. */
#define v0 x0
#define v2 x2
#define v4 x4
#define v6 x6
#define v8 x8
#define v12 x12
#define v16 x16
#define v20 x20
#define v22 x22
#define v24 x24
#define v28 x28

.macro op_ivv f6, vd, vs2, vs1
    .insn r 0x57, 0, 2 * \f6 + 1, \vd, \vs1, \vs2
.endm
.macro op_fvv f6, vd, vs2, vs1
    .insn r 0x57, 1, 2 * \f6 + 1, \vd, \vs1, \vs2
.endm
.macro op_mvv f6, vd, vs2, vs1
    .insn r 0x57, 2, 2 * \f6 + 1, \vd, \vs1, \vs2
.endm
.macro op_ivi f6, vd, vs2, imm
    .insn r 0x57, 3, 2 * \f6 + 1, \vd, x\imm, \vs2
.endm
.macro op_ivx f6, vd, vs2, rs1
    .insn r 0x57, 4, 2 * \f6 + 1, \vd, \rs1, \vs2
.endm
.macro op_fvf f6, vd, vs2, rs1
    .insn r 0x57, 5, 2 * \f6 + 1, \vd, \rs1, \vs2
.endm
.macro op_mvx f6, vd, vs2, rs1
    .insn r 0x57, 6, 2 * \f6 + 1, \vd, \rs1, \vs2
.endm

.macro vzero vd                     /* vmv.v.i vd, 0 */
    op_ivi 0x17, \vd, x0, 0
.endm
.macro vadd_vx vd, vs2, rs1
    op_ivx 0x00, \vd, \vs2, \rs1
.endm
.macro vmv_v_x vd, rs1
    op_ivx 0x17, \vd, x0, \rs1
.endm
.macro vand_vi vd, vs2, imm
    op_ivi 0x09, \vd, \vs2, \imm
.endm
.macro vsrl_vi vd, vs2, imm
    op_ivi 0x28, \vd, \vs2, \imm
.endm
.macro vand_vx vd, vs2, rs1
    op_ivx 0x09, \vd, \vs2, \rs1
.endm
.macro vnsrl_wi vd, vs2, imm
    op_ivi 0x2c, \vd, \vs2, \imm
.endm
.macro vwadd_wv vd, vs2, vs1
    op_mvv 0x35, \vd, \vs2, \vs1
.endm
.macro vwmul_vx vd, vs2, rs1
    op_mvx 0x3b, \vd, \vs2, \rs1
.endm
.macro vwmacc_vx vd, rs1, vs2
    op_mvx 0x3d, \vd, \vs2, \rs1
.endm
.macro vwredsum_vs vd, vs2, vs1
    op_ivv 0x31, \vd, \vs2, \vs1
.endm
.macro vredmaxu_vs vd, vs2, vs1
    op_mvv 0x06, \vd, \vs2, \vs1
.endm
.macro vfadd_vv vd, vs2, vs1
    op_fvv 0x00, \vd, \vs2, \vs1
.endm
.macro vfredmax_vs vd, vs2, vs1
    op_fvv 0x07, \vd, \vs2, \vs1
.endm
.macro vfmul_vv vd, vs2, vs1
    op_fvv 0x24, \vd, \vs2, \vs1
.endm
.macro vfmul_vf vd, vs2, rs1
    op_fvf 0x24, \vd, \vs2, \rs1
.endm
.macro vfadd_vf vd, vs2, rs1
    op_fvf 0x00, \vd, \vs2, \rs1
.endm
.macro vfrdiv_vf vd, vs2, rs1       /* rs1 / vs2 */
    op_fvf 0x21, \vd, \vs2, \rs1
.endm
.macro vfdiv_vf vd, vs2, rs1
    op_fvf 0x20, \vd, \vs2, \rs1
.endm

/* what differs */
.macro memory opcode, width, v, address   /* 0.7.1: elements are as wide as vtype says */
    .if rvv == 7
    .insn i \opcode, 7, \v, \address, 0x20
    .else
    .insn i \opcode, \width, \v, \address, 0x20
    .endif
.endm
.macro vle8 vd, address
    memory 0x07, 0, \vd, \address
.endm
.macro vle32 vd, address
    memory 0x07, 6, \vd, \address
.endm
.macro vse8 vs, address
    memory 0x27, 0, \vs, \address
.endm
.macro vse32 vs, address
    memory 0x27, 6, \vs, \address
.endm
.macro vset rd, avl, sew, lmul      /* sew: 0, 1, 2 for 8, 16, 32 bits; lmul: 0 to 3 for 1 to 8 registers */
    .if rvv == 7
    .insn i 0x57, 7, \rd, \avl, (\sew << 2 | \lmul)
    .else
    .insn i 0x57, 7, \rd, \avl, (0xc0 | \sew << 3 | \lmul)
    .endif
.endm
.macro vmv_x_s rd, vs2              /* 0.7.1 does not extend the sign */
    .if rvv == 7
    op_mvv 0x0c, \rd, \vs2, x0
    .else
    op_mvv 0x10, \rd, \vs2, x0
    .endif
.endm
.macro vmv_s_x vd, rs1
    .if rvv == 7
    op_mvx 0x0d, \vd, x0, \rs1
    .else
    op_mvx 0x10, \vd, x0, \rs1
    .endif
.endm
.macro vfcvt_f_x vd, vs2
    .if rvv == 7
    op_fvv 0x22, \vd, \vs2, x3
    .else
    op_fvv 0x12, \vd, \vs2, x3
    .endif
.endm
.macro vfwcvt_f_x vd, vs2
    .if rvv == 7
    op_fvv 0x22, \vd, \vs2, x11
    .else
    op_fvv 0x12, \vd, \vs2, x11
    .endif
.endm
.macro vfncvt_x_f vd, vs2
    .if rvv == 7
    op_fvv 0x22, \vd, \vs2, x17
    .else
    op_fvv 0x12, \vd, \vs2, x17
    .endif
.endm

/* run v8 += w0 * x0 + w1 * x1 in t6 lanes; if `bit` of s1 is set, this begins a new run, and the last one goes to the dot
 * products */
.macro products bit, w0, x0, w1, x1
    andi s2, s1, \bit
    beqz s2, 8f
    vset x0, t6, 1, 2
    vwadd_wv v16, v16, v8
    vset x0, t6, 0, 1
    vwmul_vx v8, \w0, \x0
    j 9f
8:  vwmacc_vx v8, \x0, \w0
9:  vwmacc_vx v8, \x1, \w1
.endm

/* v16 += (low halves of w) * x0 + (high halves of w) * x1, and w becomes the weights at `next` */
.macro halves w, x0, x1, next
    vand_vi v0, \w, 15
    vsrl_vi v2, \w, 4
    vwmacc_vx v16, \x0, v0
    vle8 \w, \next
    addi \next, \next, 32
    vwmacc_vx v16, \x1, v2
.endm

/* int duo_rvv_version(void): 7 or 10, or 0 when registers are shorter than 128 bits. Asks by vsetvli alone, that both have:
 * vtype 8 means 16-bit elements in 1.0 and 32-bit elements in 0.7.1, vtype 0 bytes in both. */
.text
.globl duo_rvv_version
.hidden duo_rvv_version
.p2align 2
duo_rvv_version:
    li t0, 0x10000
    .insn i 0x57, 7, t1, t0, 0      /* bytes in a register */
    .insn i 0x57, 7, t2, t0, 8
    li a0, 0
    li t0, 16
    blt t1, t0, 1f
    srli t1, t1, 1
    li a0, 10
    beq t2, t1, 1f
    srli t1, t1, 1
    li a0, 7
    beq t2, t1, 1f
    li a0, 0
1:  ret

#define NAME2(version, name) duo_rvv ## version ## _ ## name
#define NAME1(version, name) NAME2(version, name)
#define FUNCTION(name) \
    .globl NAME1(RVV, name); .hidden NAME1(RVV, name); .type NAME1(RVV, name), @function; .p2align 4; NAME1(RVV, name):
#define END(name) .size NAME1(RVV, name), . - NAME1(RVV, name)

#define RVV 07
.set rvv, 7
#include "loops_rvv.S"
#undef RVV
#define RVV 10
.set rvv, 10
#include "loops_rvv.S"

#elif defined(RVV)

/* gemv_q8(y a0, w a1, x a2, xs a3, rows a4, cols a5, group a6, runs a7)
 * v24: sums of 32 rows, f32. v16: a group's dot products, i32. v8: a run of products that fits 16 bits.
 * v0, v2 and v4, v6: weights of 32 rows for two inputs each; one pair is on its way while the other is used. */
FUNCTION(gemv_q8)
    addi sp, sp, -32
    sd s0, 0(sp)
    sd s1, 8(sp)
    sd s2, 16(sp)
    li t6, 32
    flw ft1, 0(a1)                  /* calls for the lines of the first scales ahead of their use */
    flw ft2, 64(a1)
1:  mv s0, a7                       /* for each 32 rows */
    mv t5, a3
    mv t4, a5
    vset x0, t6, 2, 3
    vzero v24
2:  mv t3, a1                       /* for each group */
    addi a1, a1, 128
    vset x0, t6, 0, 1
    vle8 v0, a1
    addi a1, a1, 32
    vle8 v2, a1
    addi a1, a1, 32
    vset x0, t6, 2, 3
    vzero v16
    vset x0, t6, 0, 1
    sub t4, t4, a6
    add t2, a2, a6
    lbu s1, 0(s0)
    lb t0, 0(a2)
    lb t1, 1(a2)
    vle8 v4, a1
    addi a1, a1, 32
    vle8 v6, a1
    addi a1, a1, 32
    vwmul_vx v8, v0, t0             /* the first run begins */
    vwmacc_vx v8, t1, v2
    j 4f
3:  lbu s1, 0(s0)                   /* for each four inputs */
    lb t0, 0(a2)
    lb t1, 1(a2)
    vle8 v4, a1
    addi a1, a1, 32
    vle8 v6, a1
    addi a1, a1, 32
    products 1, v0, t0, v2, t1
4:  lb t0, 2(a2)
    lb t1, 3(a2)
    addi a2, a2, 4
    addi s0, s0, 1
    beq a2, t2, 5f
    vle8 v0, a1
    addi a1, a1, 32
    vle8 v2, a1
    addi a1, a1, 32
    products 2, v4, t0, v6, t1
    j 3b
5:  bnez t4, 6f
    ble a4, t6, 7f
6:  flw ft1, 0(a1)                  /* the next group's lines, unless this is the last */
    flw ft2, 64(a1)
    flw ft3, 128(a1)
7:  products 2, v4, t0, v6, t1
    vset x0, t6, 1, 2
    vwadd_wv v16, v16, v8
    vset x0, t6, 2, 3
    vle32 v0, t3
    flw ft0, 0(t5)
    addi t5, t5, 4
    vfcvt_f_x v16, v16
    vfmul_vv v16, v16, v0
    vfmul_vf v16, v16, ft0
    vfadd_vv v24, v24, v16
    bnez t4, 2b
    vse32 v24, a0
    addi a0, a0, 128
    sub a2, a2, a5
    addi a4, a4, -32
    bgtz a4, 1b
    ld s0, 0(sp)
    ld s1, 8(sp)
    ld s2, 16(sp)
    addi sp, sp, 32
    ret
END(gemv_q8)

/* gemv_q4(y a0, w a1, x a2, xs a3, rows a4, cols a5, group a6, offset a7)
 * v24: sums of 32 rows, f32. v16: a group's dot products, i16. v20, v22: two inputs of 32 rows in each byte, one of them in
 * use while the other is on its way. v0, v2: the inputs apart. */
FUNCTION(gemv_q4)
    addi sp, sp, -32
    sd s0, 0(sp)
    sd s1, 8(sp)
    sd s2, 16(sp)
    sd s3, 24(sp)
    li t6, 32
    vset x0, t6, 0, 1
    mv t3, a1
    flw ft1, 0(t3)
    addi a1, a1, 128
    vle8 v20, a1
    addi a1, a1, 32
    vle8 v22, a1
    addi a1, a1, 32
1:  mv s0, a7                       /* for each 32 rows */
    mv t5, a3
    mv t4, a5
    vset x0, t6, 2, 3
    vzero v24
2:  flw ft2, 64(t3)                 /* for each group: t3 are its scales, whose second line is called for here */
    sub t4, t4, a6
    add t2, a2, a6
    lh t0, 0(s0)
    addi s0, s0, 2
    vset x0, t6, 1, 2
    vmv_v_x v16, t0
    vset x0, t6, 0, 1
3:  lb t0, 0(a2)                    /* for each four inputs */
    lb t1, 1(a2)
    lb s1, 2(a2)
    lb s2, 3(a2)
    addi a2, a2, 4
    beq a2, t2, 4f
    halves v20, t0, t1, a1
    halves v22, s1, s2, a1
    j 3b
4:  mv s3, t3                       /* the last four of a group call the next group, or this again when it is the last */
    bnez t4, 5f
    ble a4, t6, 6f
5:  mv t3, a1
6:  flw ft1, 0(t3)
    addi a1, t3, 128
    halves v20, t0, t1, a1
    halves v22, s1, s2, a1
    bnez t4, 7f
    sub t2, a2, a5                  /* the weights have swept the inputs from the cache: call them for the next rows */
    lb s1, 0(t2)
    lh s2, 0(a7)
    flw ft2, 0(a3)
7:  vset x0, t6, 2, 3
    vle32 v0, s3
    vset x0, t6, 1, 2
    vfwcvt_f_x v8, v16
    vset x0, t6, 2, 3
    flw ft0, 0(t5)
    addi t5, t5, 4
    vfmul_vv v8, v8, v0
    vfmul_vf v8, v8, ft0
    vfadd_vv v24, v24, v8
    bnez t4, 2b
    vse32 v24, a0
    addi a0, a0, 128
    sub a2, a2, a5
    addi a4, a4, -32
    bgtz a4, 1b
    ld s0, 0(sp)
    ld s1, 8(sp)
    ld s2, 16(sp)
    ld s3, 24(sp)
    addi sp, sp, 32
    ret
END(gemv_q4)

/* offsets(offset a0, x a1, cols a2, group a3): duo_q4_offsets */
FUNCTION(offsets)
    vset x0, a3, 0, 1
    vzero v8
1:  vset x0, a3, 0, 1
    vle8 v0, a1
    vwredsum_vs v4, v0, v8
    vset x0, a3, 1, 1
    vmv_x_s t0, v4
    slli t0, t0, 3
    neg t0, t0
    sh t0, 0(a0)
    addi a0, a0, 2
    add a1, a1, a3
    sub a2, a2, a3
    bnez a2, 1b
    ret
END(offsets)

/* gemv_f32(y a0, w a1, x a2, rows a3, cols a4): v24 sums, v0 weights */
FUNCTION(gemv_f32)
    li t6, 32
1:  mv t1, a2
    mv t2, a4
    mv t0, a3                       /* fewer rows at the end may take fewer cache lines */
    bltu t0, t6, 4f
    mv t0, t6
4:  vset x0, t0, 2, 3
    vzero v24
    vle32 v0, a1
2:  flw ft0, 0(t1)
    addi t1, t1, 4
    addi a1, a1, 128
    addi t2, t2, -1
    vfmul_vf v8, v0, ft0
    beqz t2, 3f
    vle32 v0, a1
    vfadd_vv v24, v24, v8
    j 2b
3:  vfadd_vv v24, v24, v8
    vse32 v24, a0
    addi a0, a0, 128
    addi a3, a3, -32
    bgtz a3, 1b
    ret
END(gemv_f32)

/* divide(x a0, n a1, divisor fa0): x[i] /= divisor, to the next multiple of 32 */
FUNCTION(divide)
    li t6, 32
    vset x0, t6, 2, 3
1:  vle32 v0, a0
    vfdiv_vf v0, v0, fa0
    vse32 v0, a0
    addi a0, a0, 128
    addi a1, a1, -32
    bgtz a1, 1b
    ret
END(divide)

/* mix(out a0, a a1, v a2, head a3, n a4): 48 outputs a round while there are as many, then 16. v16, v20, v24: sums. */
FUNCTION(mix)
    slli t6, a3, 2                  /* bytes from one position to the next */
    mv a7, a3
1:  beqz a7, 9f
    mv t0, a1
    mv t1, a2
    mv t2, a4
    li t3, 48
    bltu a7, t3, 5f
    li t3, 16
    vset x0, t3, 2, 2
    vzero v16
    vzero v20
    vzero v24
    addi t4, t1, 64
    addi t5, t1, 128
    vle32 v0, t1
    vle32 v4, t4
    vle32 v8, t5
2:  flw ft0, 0(t0)
    addi t0, t0, 4
    add t1, t1, t6
    add t4, t4, t6
    add t5, t5, t6
    addi t2, t2, -1
    vfmul_vf v12, v0, ft0
    beqz t2, 3f
    vle32 v0, t1
    vfmul_vf v28, v4, ft0
    vle32 v4, t4
    vfadd_vv v16, v16, v12
    vfmul_vf v12, v8, ft0
    vle32 v8, t5
    vfadd_vv v20, v20, v28
    vfadd_vv v24, v24, v12
    j 2b
3:  vfmul_vf v28, v4, ft0
    vfadd_vv v16, v16, v12
    vfmul_vf v12, v8, ft0
    vfadd_vv v20, v20, v28
    vfadd_vv v24, v24, v12
    vse32 v16, a0
    addi a0, a0, 64
    vse32 v20, a0
    addi a0, a0, 64
    vse32 v24, a0
    addi a0, a0, 64
    addi a2, a2, 192
    addi a7, a7, -48
    j 1b
5:  li t3, 16
    bgeu a7, t3, 6f
    mv t3, a7
6:  vset x0, t3, 2, 2
    vzero v16
    vle32 v0, t1
7:  flw ft0, 0(t0)
    addi t0, t0, 4
    add t1, t1, t6
    addi t2, t2, -1
    vfmul_vf v12, v0, ft0
    beqz t2, 8f
    vle32 v0, t1
    vfadd_vv v16, v16, v12
    j 7b
8:  vfadd_vv v16, v16, v12
    vse32 v16, a0
    slli t4, t3, 2
    add a0, a0, t4
    add a2, a2, t4
    sub a7, a7, t3
    j 1b
9:  ret
END(mix)

/* mix_q8(out a0, a a1, as a2, v a3, head a4, n a5, runs a6): registers as in gemv_q8, with positions for inputs. Goes
 * through 32 positions for all outputs before the next 32, so that longer ones than the cache holds are read but once. */
FUNCTION(mix_q8)
    addi sp, sp, -48
    sd s0, 0(sp)
    sd s1, 8(sp)
    sd s2, 16(sp)
    sd s3, 24(sp)
    sd s4, 32(sp)
    sd s5, 40(sp)
    li t3, 32
    li t5, 0
1:  mv t2, a5                       /* for each 32 positions: t2 is where their weights end */
    bltu t2, t3, 2f
    mv t2, t3
2:  add t2, a1, t2
    flw ft0, 0(a2)
    addi a2, a2, 4
    mv a7, a4
    mv s4, a3
    mv s5, a0
3:  mv t6, a7                       /* for each 32 outputs */
    bltu t6, t3, 4f
    mv t6, t3
4:  mv t4, s4
    mv s3, a1
    mv s0, a6
    vset x0, t6, 2, 3
    vzero v16
    vset x0, t6, 0, 1
    vle8 v0, t4
    add t4, t4, a4
    vle8 v2, t4
    add t4, t4, a4
    lbu s1, 0(s0)
    lb t0, 0(s3)
    lb t1, 1(s3)
    vle8 v4, t4
    add t4, t4, a4
    vle8 v6, t4
    add t4, t4, a4
    vwmul_vx v8, v0, t0             /* the first run begins */
    vwmacc_vx v8, t1, v2
    j 6f
5:  lbu s1, 0(s0)                   /* for each four positions */
    lb t0, 0(s3)
    lb t1, 1(s3)
    vle8 v4, t4
    add t4, t4, a4
    vle8 v6, t4
    add t4, t4, a4
    products 1, v0, t0, v2, t1
6:  lb t0, 2(s3)
    lb t1, 3(s3)
    addi s3, s3, 4
    addi s0, s0, 1
    beq s3, t2, 7f
    vle8 v0, t4
    add t4, t4, a4
    vle8 v2, t4
    add t4, t4, a4
    products 2, v4, t0, v6, t1
    j 5b
7:  products 2, v4, t0, v6, t1
    vset x0, t6, 1, 2
    vwadd_wv v16, v16, v8
    vset x0, t6, 2, 3
    vzero v24
    beqz t5, 10f
    vle32 v24, s5
10: vfcvt_f_x v16, v16
    vfmul_vf v16, v16, ft0
    vfadd_vv v24, v24, v16
    vse32 v24, s5
    addi s5, s5, 128
    add s4, s4, t6
    sub a7, a7, t6
    bnez a7, 3b
    sub t0, t2, a1
    sub a5, a5, t0
    mul t1, t0, a4
    add a3, a3, t1
    srli t0, t0, 2
    add a6, a6, t0
    mv a1, t2
    li t5, 1
    bnez a5, 1b
    ld s0, 0(sp)
    ld s1, 8(sp)
    ld s2, 16(sp)
    ld s3, 24(sp)
    ld s4, 32(sp)
    ld s5, 40(sp)
    addi sp, sp, 48
    ret
END(mix_q8)

/* quantize(q a0, scale a1, x a2, n a3, group a4): returns how many of n are left, from the first group with an infinity or
 * NaN on */
FUNCTION(quantize)
    li t6, 32
    li t5, 0x7fffffff
    li t0, 0x42fe0000               /* 127 */
    fmv.w.x ft1, t0
    li t0, 0x00800000               /* FLT_MIN */
    fmv.w.x ft2, t0
    li t4, 0x7f800000               /* infinity */
    frrm a7
1:  mv t1, a2                       /* the largest magnitude; floats without sign are in the order of their bits */
    mv t2, a4
    vset x0, t6, 2, 3
    vmv_s_x v24, x0
2:  mv t3, t2
    bltu t3, t6, 3f
    mv t3, t6
3:  vset x0, t3, 2, 3
    vle32 v0, t1
    vand_vx v8, v0, t5
    vredmaxu_vs v24, v8, v24
    addi t1, t1, 128
    sub t2, t2, t3
    bnez t2, 2b
    vmv_x_s t0, v24
    bgeu t0, t4, 7f
    fmv.w.x ft0, t0
    fdiv.s ft0, ft0, ft1
    fsw ft0, 0(a1)
    addi a1, a1, 4
    flt.s t0, ft0, ft2
    mv t2, a4
    fsrmi 4                         /* to nearest, half away from zero */
4:  mv t3, t2
    bltu t3, t6, 5f
    mv t3, t6
5:  vset x0, t3, 2, 3
    vzero v16
    bnez t0, 6f
    vle32 v0, a2
    vfdiv_vf v0, v0, ft0
    vset x0, t3, 1, 2
    vfncvt_x_f v16, v0
6:  vset x0, t3, 0, 1
    vnsrl_wi v8, v16, 0
    vse8 v8, a0
    slli t1, t3, 2
    add a2, a2, t1
    add a0, a0, t3
    sub t2, t2, t3
    bnez t2, 4b
    fsrm a7
    sub a3, a3, a4
    bnez a3, 1b
7:  mv a0, a3
    ret
END(quantize)

/* silu(gate a0, e a1, up a2, n a3): gate[i] *= 1 / (1 + e[i]) * up[i], n <= 32 */
FUNCTION(silu)
    li t0, 0x3f800000               /* 1 */
    fmv.w.x ft0, t0
    vset x0, a3, 2, 3
    vle32 v0, a1
    vfadd_vf v0, v0, ft0
    vfrdiv_vf v0, v0, ft0
    vle32 v8, a0
    vle32 v16, a2
    vfmul_vv v0, v8, v0
    vfmul_vv v0, v0, v16
    vse32 v0, a0
    ret
END(silu)

/* block_max(max a0, x a1, n a2) */
FUNCTION(block_max)
    li t6, 32
    li t5, 1
1:  mv t0, a2
    bltu t0, t6, 2f
    mv t0, t6
2:  vset x0, t0, 2, 3
    vle32 v0, a1
    vfredmax_vs v8, v0, v0
    vset x0, t5, 2, 0
    vse32 v8, a0
    addi a0, a0, 4
    addi a1, a1, 128
    sub a2, a2, t0
    bnez a2, 1b
    ret
END(block_max)

#endif

#if defined(__ELF__) && !defined(RVV)
.section .note.GNU-stack, "", @progbits
#endif
