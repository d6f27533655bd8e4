/* c906sim.c - a QEMU plugin that estimates the cycles a program takes on a T-Head C906: one instruction a cycle, in order,
 * vectors of 128 bits on a 64-bit datapath.
 *
 * It runs RVV 1.0 programs; the C906's RVV 0.7.1 instructions do the same work in the same time. Each instruction goes
 * through a scoreboard: it waits for its operands, for the register it writes, for its unit and for its cache lines. What
 * it waits is charged to it, so that all charges add up to the total.
 *
 *     qemu-riscv64 -cpu rv64,v=true,vlen=128 -plugin c906sim.so,out=FILE,NAME=VALUE... PROGRAM
 *
 * A program that calls sched_yield() marks that moment: the report has the cycles until then.
 *
 * Every number that describes the machine is in the table below, can be set by name, and is explained in MODEL.md.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "qemu-plugin.h"

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

/* ---------------------------------------------------------------- machine parameters */
static struct {
    /* clock and memory */
    double mhz, mem_gbs;            /* core clock; streaming read bandwidth */
    double l1_kb, l1_ways;          /* data cache, 64-byte lines, FIFO replacement */
    double stream_pen;              /* cycles lost per line when the hardware prefetcher is following */
    double miss_ns;                 /* latency of a miss that no stream predicts */
    double store_pen;               /* cycles lost per store miss (write buffer / write allocate off) */
    /* scalar latencies, cycles */
    double ld, mul, div, fadd, fmul, fma, fcvt, fdiv, brpen;
    /* vector: latency to a dependent vector instruction, issue slots, vector-to-scalar latency */
    double vlat, vflat, vmlat32, vslot, vset, vld, v2x;
    double viq;                     /* vector instruction queue entries */
} P = {
    .mhz = 1000, .mem_gbs = 1.95, .l1_kb = 32, .l1_ways = 4, .stream_pen = 8, .miss_ns = 110, .store_pen = 2,
    .ld = 2, .mul = 3, .div = 10, .fadd = 3, .fmul = 3, .fma = 4, .fcvt = 3, .fdiv = 12, .brpen = 4,
    .vlat = 3, .vflat = 4, .vmlat32 = 4, .vslot = 2, .vset = 2, .vld = 3, .v2x = 4, .viq = 2,
};
static const struct { const char *name; double *v; } PNAME[] = {
#define N(x) { #x, &P.x }
    N(mhz), N(mem_gbs), N(l1_kb), N(l1_ways), N(stream_pen), N(miss_ns), N(store_pen), N(ld), N(mul), N(div),
    N(fadd), N(fmul), N(fma), N(fcvt), N(fdiv), N(brpen), N(vlat), N(vflat), N(vmlat32), N(vslot), N(vset),
    N(vld), N(v2x), N(viq),
#undef N
};
static const char *out_path = "c906sim.out";

/* ---------------------------------------------------------------- instruction classes */
enum cls {
    C_INT, C_MUL, C_DIV, C_LOAD, C_STORE, C_BRANCH, C_JUMP, C_FP, C_FMA, C_FDIV, C_FLOAD, C_FSTORE, C_SYS,
    C_VSET, C_VLOAD, C_VSTORE, C_VSLOWMEM, C_VINT, C_VMUL, C_VWIDE, C_VNARROW, C_VFP, C_VFMA, C_VFDIV, C_VRED, C_VFRED,
    C_VPERM, C_VGATHER, C_V2X, C_X2V, C_VMASK, C_VCMP, C_N
};
static const char *const CNAME[C_N] = {
    "int", "mul", "div", "load", "store", "branch", "jump", "fp", "fma", "fdiv", "fload", "fstore", "system",
    "vsetvl", "vload", "vstore", "vmem-strided/indexed", "v-int", "v-mul", "v-widening", "v-narrowing", "v-fp", "v-fma",
    "v-fdiv", "v-reduce", "v-freduce", "v-slide", "v-gather", "v-to-scalar", "scalar-to-v", "v-mask", "v-compare",
};

#define F(r) (32 + (r))
#define V(r) (64 + (r))
#define NOREG 255

struct insn {
    uint64_t pc, count;
    double cycles;                  /* charged to this instruction so far */
    uint32_t raw;
    uint8_t cls, len;
    uint8_t dst, src[3];            /* scalar (x, f) operands; NOREG when absent */
    uint8_t vd, vs1, vs2, vs3;      /* vector register numbers; NOREG when absent */
    uint8_t wd, w2, w1;             /* group width of vd, vs2, vs1: 0 = one register, 1 = LMUL, 2 = 2*LMUL */
    uint8_t nf;                     /* segment fields for vector loads and stores, else 1 */
    uint8_t fpv;                    /* floating point vector operation */
    uint32_t vtype;                 /* C_VSET with immediate: the new vtype */
    struct insn *next;
};

/* ---------------------------------------------------------------- decode */
static void rd_int(struct insn *d, unsigned r) { d->dst = r ? r : NOREG; }
static void rs_int(struct insn *d, int k, unsigned r) { d->src[k] = r ? r : NOREG; }

static void decode16(struct insn *d, unsigned w)
{
    unsigned q = w & 3, f3 = w >> 13, r = (w >> 7) & 31, r2 = (w >> 2) & 31, p1 = 8 + (r & 7), p2 = 8 + (r2 & 7);
    d->cls = C_INT;
    switch (q << 3 | f3) {
    case 0x00: rd_int(d, p2); rs_int(d, 0, 2); break;                                           /* addi4spn */
    case 0x01: d->cls = C_FLOAD; d->dst = F(p2); rs_int(d, 0, p1); break;
    case 0x02: case 0x03: d->cls = C_LOAD; rd_int(d, p2); rs_int(d, 0, p1); break;
    case 0x05: d->cls = C_FSTORE; rs_int(d, 0, p1); d->src[1] = F(p2); break;
    case 0x06: case 0x07: d->cls = C_STORE; rs_int(d, 0, p1); rs_int(d, 1, p2); break;
    case 0x08: case 0x09: rd_int(d, r); rs_int(d, 0, r); break;                                 /* addi, addiw */
    case 0x0a: case 0x0b: rd_int(d, r); if (f3 == 3 && r == 2) rs_int(d, 0, 2); break;          /* li, lui */
    case 0x0c: rd_int(d, p1); rs_int(d, 0, p1); if (((w >> 10) & 3) == 3) rs_int(d, 1, p2); break;
    case 0x0d: d->cls = C_JUMP; break;
    case 0x0e: case 0x0f: d->cls = C_BRANCH; rs_int(d, 0, p1); break;
    case 0x10: rd_int(d, r); rs_int(d, 0, r); break;                                            /* slli */
    case 0x11: d->cls = C_FLOAD; d->dst = F(r); rs_int(d, 0, 2); break;
    case 0x12: case 0x13: d->cls = C_LOAD; rd_int(d, r); rs_int(d, 0, 2); break;
    case 0x14:
        if (r2 == 0) { d->cls = C_JUMP; rs_int(d, 0, r); if (w & 0x1000) rd_int(d, 1); }        /* jr, jalr */
        else { rd_int(d, r); rs_int(d, 0, r2); if (w & 0x1000) rs_int(d, 1, r); }               /* mv, add */
        break;
    case 0x15: d->cls = C_FSTORE; rs_int(d, 0, 2); d->src[1] = F(r2); break;
    case 0x16: case 0x17: d->cls = C_STORE; rs_int(d, 0, 2); rs_int(d, 1, r2); break;
    }
}

static void decode_v(struct insn *d, uint32_t w)
{
    unsigned f3 = (w >> 12) & 7, f6 = w >> 26, vd = (w >> 7) & 31, s1 = (w >> 15) & 31, s2 = (w >> 20) & 31;
    if (f3 == 7) {                                          /* vsetvli, vsetivli, vsetvl */
        d->cls = C_VSET;
        rd_int(d, vd);
        if (!(w >> 31)) d->vtype = (w >> 20) & 0x7ff;
        else if ((w >> 30) == 3) d->vtype = (w >> 20) & 0x3ff;
        else d->vtype = ~0u, rs_int(d, 1, s2);
        if ((w >> 30) != 3) rs_int(d, 0, s1);
        return;
    }
    bool opi = f3 == 0 || f3 == 3 || f3 == 4, opm = f3 == 2 || f3 == 6, opf = f3 == 1 || f3 == 5;
    d->cls = C_VINT; d->fpv = opf;
    d->vd = vd; d->wd = 1; d->vs2 = s2; d->w2 = 1;
    if (f3 <= 2) { d->vs1 = s1; d->w1 = 1; }                /* vector-vector */
    if (f3 == 4 || f3 == 6) rs_int(d, 0, s1);
    if (f3 == 5) d->src[0] = F(s1);
    if (!(w >> 25 & 1)) d->vs3 = 0;                         /* masked: v0 is a source */
    if (opi) {
        if (f6 >= 0x18 && f6 <= 0x1f) { d->cls = C_VCMP; d->wd = 0; }
        else if (f6 >= 0x2c && f6 <= 0x2f) { d->cls = C_VNARROW; d->w2 = 2; }
        else if (f6 == 0x30 || f6 == 0x31) { d->cls = C_VRED; d->wd = 0; d->w1 = 0; }
        else if (f6 >= 0x3c) { d->cls = C_VWIDE; d->wd = 2; d->vs3 = vd; }
        else if (f6 == 0x0c) d->cls = f3 == 0 ? C_VGATHER : C_VPERM;
        else if (f6 == 0x0e || f6 == 0x0f) d->cls = C_VPERM;
        else if (f6 == 0x17 && (w >> 25 & 1)) { d->vs2 = NOREG; if (f3 == 4) d->cls = C_X2V; }   /* vmv.v.* */
        else if (f6 == 0x27) d->cls = C_VMUL;               /* vsmul */
    } else if (opm) {
        if (f6 <= 0x07 && f3 == 2) { d->cls = C_VRED; d->wd = 0; d->w1 = 0; }
        else if (f6 == 0x10 && f3 == 2) { d->cls = C_V2X; d->vd = d->vs1 = NOREG; d->wd = d->w2 = 0; rd_int(d, vd); }
        else if (f6 == 0x10 && f3 == 6) { d->cls = C_X2V; d->vs2 = NOREG; d->wd = 0; }
        else if (f6 == 0x14) { d->cls = C_VMASK; d->vs1 = NOREG; d->w2 = 0; }
        else if (f6 == 0x12) { d->cls = C_VWIDE; d->vs1 = NOREG; }
        else if (f6 == 0x0e || f6 == 0x0f) d->cls = C_VPERM;
        else if (f6 == 0x17) d->cls = C_VGATHER;            /* vcompress */
        else if (f6 >= 0x18 && f6 <= 0x1f) { d->cls = C_VMASK; d->wd = d->w1 = d->w2 = 0; }
        else if (f6 >= 0x20 && f6 <= 0x23) d->cls = C_VFDIV;
        else if (f6 >= 0x24 && f6 <= 0x27) d->cls = C_VMUL;
        else if (f6 >= 0x28 && f6 <= 0x2f) { d->cls = C_VMUL; d->vs3 = vd; }
        else if (f6 >= 0x30) {
            d->cls = C_VWIDE; d->wd = 2;
            if (f6 >= 0x34 && f6 <= 0x37) d->w2 = 2;
            if (f6 >= 0x3c) d->vs3 = vd;
        }
    } else if (opf) {
        d->cls = C_VFP;
        if (f3 == 1 && (f6 == 1 || f6 == 3 || f6 == 5 || f6 == 7)) { d->cls = C_VFRED; d->wd = 0; d->w1 = 0; }
        else if (f6 == 0x10 && f3 == 1) { d->cls = C_V2X; d->vd = d->vs1 = NOREG; d->wd = d->w2 = 0; d->dst = F(vd); }
        else if (f6 == 0x10 && f3 == 5) { d->cls = C_X2V; d->vs2 = NOREG; d->wd = 0; }
        else if (f6 == 0x17) { d->cls = C_X2V; if (w >> 25 & 1) d->vs2 = NOREG; }
        else if (f6 >= 0x18 && f6 <= 0x1f) { d->cls = C_VCMP; d->wd = 0; }
        else if (f6 == 0x20 || f6 == 0x21) d->cls = C_VFDIV;
        else if (f6 == 0x12 && f3 == 1) {                   /* conversions */
            d->vs1 = NOREG;
            if (s1 >= 0x10) d->cls = C_VNARROW, d->w2 = 2;
            else if (s1 >= 8) d->cls = C_VWIDE, d->wd = 2;
        }
        else if (f6 == 0x13 && f3 == 1) { d->cls = C_VFDIV; d->vs1 = NOREG; }
        else if (f6 == 0x24) d->cls = C_VFMA;
        else if (f6 >= 0x28 && f6 <= 0x2f) { d->cls = C_VFMA; d->vs3 = vd; }
        else if (f6 == 0x31 || f6 == 0x33) { d->cls = C_VFRED; d->wd = 0; d->w1 = 0; }
        else if (f6 >= 0x30) {
            d->cls = C_VWIDE; d->wd = 2;
            if (f6 == 0x34 || f6 == 0x36) d->w2 = 2;
            if (f6 >= 0x3c) d->vs3 = vd;
        }
    }
}

static void decode32(struct insn *d, uint32_t w)
{
    unsigned rd = (w >> 7) & 31, f3 = (w >> 12) & 7, r1 = (w >> 15) & 31, r2 = (w >> 20) & 31, f7 = w >> 25;
    d->cls = C_INT;
    switch (w & 0x7f) {
    case 0x03: d->cls = C_LOAD; rd_int(d, rd); rs_int(d, 0, r1); break;
    case 0x23: d->cls = C_STORE; rs_int(d, 0, r1); rs_int(d, 1, r2); break;
    case 0x07: case 0x27:
        rs_int(d, 0, r1);
        if (f3 >= 1 && f3 <= 4) {
            if ((w & 0x7f) == 7) d->cls = C_FLOAD, d->dst = F(rd); else d->cls = C_FSTORE, d->src[1] = F(r2);
        } else {
            unsigned mop = (w >> 26) & 3, st = w >> 5 & 1;
            d->cls = mop ? C_VSLOWMEM : st ? C_VSTORE : C_VLOAD;
            d->nf = 1 + (w >> 29);
            if (mop == 2) rs_int(d, 1, r2);                  /* constant stride */
            if (st) { d->vs3 = rd; } else { d->vd = rd; d->wd = 1; }
        }
        break;
    case 0x13: case 0x1b: rd_int(d, rd); rs_int(d, 0, r1); break;
    case 0x33: case 0x3b:
        rd_int(d, rd); rs_int(d, 0, r1); rs_int(d, 1, r2);
        if (f7 == 1) d->cls = f3 < 4 ? C_MUL : C_DIV;
        break;
    case 0x17: case 0x37: rd_int(d, rd); break;
    case 0x63: d->cls = C_BRANCH; rs_int(d, 0, r1); rs_int(d, 1, r2); break;
    case 0x67: rs_int(d, 0, r1); /* fall through */
    case 0x6f: d->cls = C_JUMP; rd_int(d, rd); break;
    case 0x43: case 0x47: case 0x4b: case 0x4f:
        d->cls = C_FMA; d->dst = F(rd); d->src[0] = F(r1); d->src[1] = F(r2); d->src[2] = F(w >> 27); break;
    case 0x53: {
        unsigned op = f7 >> 2;
        d->cls = op == 3 || op == 0xb ? C_FDIV : C_FP;
        if (op == 0x14 || op == 0x18 || op == 0x1c) rd_int(d, rd); else d->dst = F(rd);
        if (op == 0x1a || op == 0x1e) rs_int(d, 0, r1); else d->src[0] = F(r1);
        if (op < 8 || op == 0x14) d->src[1] = F(r2);
        break;
    }
    case 0x57: decode_v(d, w); break;
    case 0x2f: d->cls = C_LOAD; rd_int(d, rd); rs_int(d, 0, r1); rs_int(d, 1, r2); break;
    default: d->cls = C_SYS; break;
    }
}

/* ---------------------------------------------------------------- data cache and memory */
#define MAXWAYS 16
static uint64_t *tag; static uint8_t *fifo; static unsigned sets, ways;
static uint64_t n_miss_ld, n_miss_st, n_stream, n_random;
static struct { uint64_t line; uint64_t used; } stream[8];
static double bus_free, line_cycles, miss_cycles;

static bool cache_hit(uint64_t line)
{
    unsigned s = line % sets;
    uint64_t *t = tag + (size_t)s * ways;
    for (unsigned i = 0; i < ways; i++) if (t[i] == line + 1) return true;
    t[fifo[s]] = line + 1;
    fifo[s] = (fifo[s] + 1) % ways;
    return false;
}

static bool in_stream(uint64_t line)
{
    static uint64_t clock;
    int old = 0;
    clock++;
    for (int i = 0; i < 8; i++) {
        int64_t step = (int64_t)(line - stream[i].line);
        if (stream[i].used && step >= 1 && step <= 4) { stream[i].line = line; stream[i].used = clock; return true; }
        if (stream[i].used < stream[old].used) old = i;
    }
    stream[old].line = line; stream[old].used = clock;
    return false;
}

/* cycles after `t` until the data of this line can be used */
static double line_wait(uint64_t line, bool store, double t)
{
    if (cache_hit(line)) return 0;
    if (store) {                    /* write buffer: the program waits only when it is several lines ahead of the bus */
        n_miss_st++;
        bus_free = (bus_free > t ? bus_free : t) + 0.87 * line_cycles;
        double w = bus_free - t - 4 * line_cycles;
        return w > P.store_pen ? w : P.store_pen;
    }
    n_miss_ld++;
    bool s = in_stream(line);
    double lat = s ? P.stream_pen : miss_cycles;
    if (s) n_stream++; else n_random++;
    /* The bus delivers one line per line_cycles; a prefetch stream may run a few lines ahead of the program. */
    double earliest = t - (s ? 4 * line_cycles : 0);
    bus_free = (bus_free > earliest ? bus_free : earliest) + line_cycles;
    double ready = t + lat;
    return (ready > bus_free ? ready : bus_free) - t;
}

/* ---------------------------------------------------------------- timing state */
static double ready[96];            /* value can be forwarded (v: first half of the register) */
static double vread[32];            /* v: last time an earlier instruction still reads the register */
static double wb[64];               /* x, f: multi-cycle result written back; a later writer must wait for it */
static double slot_free;            /* issue port free */
static double valu_free, lsu_free, div_free, fdiv_free;
static double viq_start[16]; static unsigned viq_n;
static uint64_t n_cls[C_N];
static double cycles_of[C_N];
static uint64_t n_misp, n_insn;
static unsigned lmul = 1, sew = 8;
static uint8_t gshare[4096]; static unsigned hist;

static struct insn *pend;
static uint64_t mline[512]; static unsigned n_mline, m_elems; static bool m_store;

static double mx(double a, double b) { return a > b ? a : b; }

static void set_vtype(uint32_t vt)
{
    if (vt == ~0u) return;
    unsigned l = vt & 7;
    sew = 8u << (vt >> 3 & 7);
    lmul = l < 4 ? 1u << l : 1;
}

/* earliest start that lets a group of n registers starting at r be read at `step` cycles a register */
static double group_ready(unsigned r, unsigned n, double step)
{
    double t = 0;
    for (unsigned k = 0; k < n && r + k < 32; k++) t = mx(t, ready[V(r + k)] - k * step);
    return t;
}

/* enter the FP/vector queue; returns the first cycle at which the issue pipe can go on */
static double queue_push(double start)
{
    unsigned q = (unsigned)P.viq;
    double t = viq_start[viq_n % q];
    viq_start[viq_n++ % q] = start;
    return t;
}

/* write after read: earliest start at which writing n registers from r (first result after lat, then step) is safe */
static double group_unread(unsigned r, unsigned n, double lat, double step)
{
    double t = 0;
    for (unsigned k = 0; k < n && r + k < 32; k++) t = mx(t, vread[r + k] - lat - k * step);
    return t;
}

static void group_read(unsigned r, unsigned n, double start, double step)
{
    for (unsigned k = 0; k < n && r + k < 32; k++) vread[r + k] = mx(vread[r + k], start + (k + 1) * step);
}

static void retire(struct insn *d, uint64_t next_pc)
{
    unsigned n = lmul, c = d->cls;
    double t = slot_free, t0, slots = 1;
    bool vec = c >= C_VLOAD;

    for (int k = 0; k < 3; k++) if (d->src[k] != NOREG) t = mx(t, ready[d->src[k]]);

    if (!vec) {
        double lat = 1;
        switch (c) {
        case C_MUL: lat = P.mul; break;
        case C_DIV: lat = P.div; t = mx(t, div_free); break;
        case C_FP: { unsigned op = d->raw >> 27; lat = op < 2 ? P.fadd : op == 2 ? P.fmul : P.fcvt; break; }
        case C_FMA: lat = P.fma; break;
        case C_FDIV: lat = P.fdiv; break;
        case C_LOAD: case C_FLOAD: lat = P.ld; t = mx(t, lsu_free); break;
        case C_STORE: case C_FSTORE: t = mx(t, lsu_free); break;
        case C_VSET: slots = P.vset; lat = P.vset; set_vtype(d->vtype); break;
        case C_SYS: slots = 4; break;
        }
        if (d->dst != NOREG && c != C_FP && c != C_FMA && c != C_FDIV) t = mx(t, wb[d->dst]);
        if (c == C_FP || c == C_FMA || c == C_FDIV) {        /* these sit in the vector/FP queue, not in the pipe */
            double start = mx(slot_free, valu_free);
            for (int k = 0; k < 3; k++) if (d->src[k] != NOREG) start = mx(start, ready[d->src[k]]);
            if (d->dst != NOREG) start = mx(start, wb[d->dst]);
            if (c == C_FDIV) start = mx(start, fdiv_free), fdiv_free = start + lat;
            t = mx(slot_free, queue_push(start));
            valu_free = start + 1;
            if (d->dst != NOREG) ready[d->dst] = start + lat, wb[d->dst] = start + lat + 1;
            goto issued;
        }
        double wait = 0;
        for (unsigned i = 0; i < n_mline; i++) wait = mx(wait, line_wait(mline[i], m_store, t));
        if (n_mline) {
            lsu_free = t + 1;
            if (m_store && wait > 0) slots += wait;
        }
        if (c == C_DIV) div_free = t + lat;
        if (d->dst != NOREG) {
            ready[d->dst] = t + lat + wait;
            wb[d->dst] = lat > 2 || wait > 0 ? t + lat + wait + 1 : 0;
        }
        if (c == C_BRANCH) {
            bool taken = next_pc != d->pc + d->len;
            unsigned i = ((d->pc >> 1) ^ hist) & 4095;
            if ((gshare[i] >= 2) != taken) n_misp++, slots += P.brpen;
            if (taken) { if (gshare[i] < 3) gshare[i]++; } else if (gshare[i]) gshare[i]--;
            hist = (hist << 1 | taken) & 1023;
        }
    } else {
        bool mem = c == C_VLOAD || c == C_VSTORE || c == C_VSLOWMEM;
        unsigned gd = d->wd == 2 ? 2 * n : d->wd ? n : 1, g2 = d->w2 == 2 ? 2 * n : d->w2 ? n : 1, g1 = d->w1 ? n : 1;
        unsigned regs = n * d->nf;
        double occ, lat = d->fpv ? P.vflat : P.vlat;
        if (!mem) { regs = gd > g2 ? gd : g2; if (c == C_V2X || c == C_X2V) regs = gd; }
        occ = 2.0 * regs;
        double tail = occ;                                   /* cycles from start until the last result leaves */
        switch (c) {
        case C_VRED: occ = 2.0 * n + 1; break;
        case C_VFRED: occ = 4.0 * n + 5; tail = occ; break;
        case C_VFDIV: occ = (d->fpv ? 36.0 : 14.0) * n; tail = occ; break;
        case C_VGATHER: occ = 4.0 * n * n; tail = occ; break;
        case C_VMUL: if (sew == 32) lat = P.vmlat32; break;
        case C_VSLOWMEM: occ = mx(occ, m_elems); break;      /* one element a cycle */
        default: break;
        }
        slots = P.vslot;
        double start = t;
        if (mem) {
            start = mx(start, lsu_free);
            if (d->vs3 != NOREG && c != C_VLOAD) start = mx(start, group_ready(d->vs3, regs, 2));
            if (d->vd != NOREG)
                start = mx(start, mx(group_ready(d->vd, regs, 2) + 1 - P.vld, group_unread(d->vd, regs, P.vld, 2)));
            if (d->vs3 != NOREG && c != C_VLOAD) group_read(d->vs3, regs, start, 2);
            double wait = 0;
            for (unsigned i = 0; i < n_mline; i++) {
                double ti = start + 2.0 * regs * i / n_mline;
                double w = line_wait(mline[i], m_store, ti);
                wait = mx(wait, w);
            }
            lsu_free = start + occ + (m_store ? wait : 0);
            if (d->vd != NOREG)
                for (unsigned k = 0; k < regs; k++) ready[V((d->vd + k) & 31)] = start + P.vld + 2 * k + wait;
            t = mx(t, start - 2 * P.vslot);                  /* accepted a little early, then the pipe blocks */
        } else {
            start = mx(start, valu_free);
            if (d->dst != NOREG) start = mx(start, wb[d->dst]);
            double step = regs ? occ / regs : 2;
            if (d->vs2 != NOREG) start = mx(start, group_ready(d->vs2, g2, g2 == regs ? step : 2 * step));
            if (d->vs1 != NOREG) start = mx(start, group_ready(d->vs1, g1, g1 == regs ? step : 2 * step));
            if (d->vs3 != NOREG) start = mx(start, group_ready(d->vs3, d->vs3 == d->vd ? gd : 1, step));
            if (d->vd != NOREG)                              /* write after write: one later than forwarding */
                start = mx(start, mx(group_ready(d->vd, gd, step) + 1, group_unread(d->vd, gd, lat, step)));
            if (d->vs2 != NOREG) group_read(d->vs2, g2, start, occ / g2);
            if (d->vs1 != NOREG) group_read(d->vs1, g1, start, occ / g1);
            t = mx(t, queue_push(start));
            valu_free = start + occ;
            if (d->vd != NOREG) {
                if (d->wd == 0) ready[V(d->vd)] = start + (c == C_VRED ? mx(2.0 * n, 4) : tail - 2 + lat);
                else for (unsigned k = 0; k < gd; k++) ready[V((d->vd + k) & 31)] = start + lat + k * (occ / gd);
            }
            if (d->dst != NOREG) ready[d->dst] = start + P.v2x, wb[d->dst] = start + P.v2x + 1;
        }
    }
issued:
    t0 = slot_free;
    slot_free = t + slots;                                   /* the charge is the advance of the issue port */
    cycles_of[c] += slot_free - t0;
    d->cycles += slot_free - t0;
    n_insn++;
    n_cls[c]++;
    d->count++;
}

/* ---------------------------------------------------------------- plugin glue */
static struct insn *all[1 << 16];

static struct insn *get_insn(uint64_t pc, uint32_t raw, unsigned len)
{
    struct insn **h = &all[(pc >> 1) & 0xffff];
    for (struct insn *d = *h; d; d = d->next) if (d->pc == pc && d->raw == raw) return d;
    struct insn *d = calloc(1, sizeof *d);
    d->pc = pc; d->raw = raw; d->len = len; d->nf = 1;
    d->dst = d->src[0] = d->src[1] = d->src[2] = d->vd = d->vs1 = d->vs2 = d->vs3 = NOREG;
    if (len == 2) decode16(d, raw & 0xffff); else decode32(d, raw);
    d->next = *h; *h = d;
    return d;
}

static void on_exec(unsigned cpu, void *u)
{
    struct insn *d = u;
    (void)cpu;
    if (pend) retire(pend, d->pc);
    pend = d; n_mline = m_elems = 0; m_store = false;
}

static void on_mem(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t va, void *u)
{
    unsigned size = 1u << qemu_plugin_mem_size_shift(info);
    (void)cpu;
    if (u != pend) return;
    m_elems++;
    m_store = qemu_plugin_mem_is_store(info);
    uint64_t l = va >> 6;
    if (n_mline && mline[n_mline - 1] == l) return;
    if (n_mline < 512) mline[n_mline++] = l;
    if (((va + size - 1) >> 6) != l && n_mline < 512) mline[n_mline++] = l + 1;
}

static void on_tb(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    size_t n = qemu_plugin_tb_n_insns(tb);
    (void)id;
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *q = qemu_plugin_tb_get_insn(tb, i);
        unsigned len = qemu_plugin_insn_size(q);
        uint32_t raw = 0;
        memcpy(&raw, qemu_plugin_insn_data(q), len > 4 ? 4 : len);
        struct insn *d = get_insn(qemu_plugin_insn_vaddr(q), raw, len);
        qemu_plugin_register_vcpu_insn_exec_cb(q, on_exec, QEMU_PLUGIN_CB_NO_REGS, d);
        switch (d->cls) {
        case C_LOAD: case C_STORE: case C_FLOAD: case C_FSTORE: case C_VLOAD: case C_VSTORE: case C_VSLOWMEM:
            qemu_plugin_register_vcpu_mem_cb(q, on_mem, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, d);
            break;
        default: break;
        }
    }
}

static double *marks; static size_t n_marks;

static void on_syscall(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                       uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    (void)id; (void)cpu; (void)a; (void)b; (void)c; (void)d; (void)e; (void)f; (void)g; (void)h;
    if (number != 124) return;                               /* sched_yield */
    if (!(n_marks & (n_marks + 1)) && !(marks = realloc(marks, 2 * (n_marks + 1) * sizeof *marks))) abort();
    marks[n_marks++] = slot_free;
}

static void on_exit_cb(qemu_plugin_id_t id, void *u)
{
    (void)id; (void)u;
    if (pend) { retire(pend, 0); pend = NULL; }
    FILE *f = fopen(out_path, "w");
    if (!f) return;
    fprintf(f, "insns %" PRIu64 "\ncycles %.0f\n", n_insn, slot_free);
    fprintf(f, "miss_load %" PRIu64 "\nmiss_store %" PRIu64 "\nmiss_stream %" PRIu64 "\nmiss_random %" PRIu64 "\n",
            n_miss_ld, n_miss_st, n_stream, n_random);
    fprintf(f, "mispredict %" PRIu64 "\n", n_misp);
    for (size_t i = 0; i < n_marks; i++) fprintf(f, "mark %.0f\n", marks[i]);
    for (int i = 0; i < C_N; i++) if (n_cls[i]) {
        fprintf(f, "class %s %" PRIu64 " %.0f\n", CNAME[i], n_cls[i], cycles_of[i]);
    }
    for (unsigned h = 0; h < 1 << 16; h++)
        for (struct insn *d = all[h]; d; d = d->next)
            if (d->count) fprintf(f, "pc %" PRIx64 " %" PRIu64 " %.0f\n", d->pc, d->count, d->cycles);
    fclose(f);
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        char *eq = strchr(argv[i], '=');
        bool ok = false;
        size_t n = eq ? (size_t)(eq - argv[i]) : 0;
        if (eq && n == 3 && !strncmp(argv[i], "out", n)) out_path = strdup(eq + 1), ok = true;
        for (size_t k = 0; eq && k < sizeof PNAME / sizeof *PNAME; k++)
            if (strlen(PNAME[k].name) == n && !strncmp(argv[i], PNAME[k].name, n)) *PNAME[k].v = atof(eq + 1), ok = true;
        if (!ok) {
            fprintf(stderr, "c906sim: there is no parameter %s\n", argv[i]);
            return 1;
        }
    }
    ways = (unsigned)P.l1_ways; sets = (unsigned)(P.l1_kb * 1024 / 64 / ways);
    tag = calloc((size_t)sets * ways, sizeof *tag); fifo = calloc(sets, 1);
    line_cycles = 64 / (P.mem_gbs * 1000 / P.mhz);
    miss_cycles = P.miss_ns * P.mhz / 1000;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_tb);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    qemu_plugin_register_atexit_cb(id, on_exit_cb, NULL);
    return 0;
}
