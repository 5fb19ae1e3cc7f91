# The loops of the sampler for RISC-V vectors 1.0. All of them take any vector length. All vector
# registers and all `t`, `a`, `ft` and `fa` registers may be changed by a callee.
    .option push
    .option arch, +m, +f, +d, +v

# void portraitd_rvv_sum_rows(rows, row_count, edges, bits, out, count, add): the sums of rows of
# bytes, with `bits` fractional bits. a2: 0, or the two weighted rows of `Edges` in
# sample/rvv/mod.rs. The result is added to what `out` holds if a6 is not 0.
    .globl portraitd_rvv_sum_rows
    .hidden portraitd_rvv_sum_rows
    .type portraitd_rvv_sum_rows, @function
portraitd_rvv_sum_rows:
    li t0, 0                # columns that are done
1:
    vsetvli t1, a5, e16, m8, ta, ma
    vmv.v.i v8, 0
    mv t2, a0
    mv t3, a1
    beqz t3, 3f
    vsetvli zero, t1, e8, m4, ta, ma
2:
    ld t4, 0(t2)
    addi t2, t2, 8
    add t4, t4, t0
    vle8.v v0, (t4)
    addi t3, t3, -1
    vwaddu.wv v8, v8, v0
    bnez t3, 2b
    vsetvli zero, t1, e16, m8, ta, ma
    vsll.vx v8, v8, a3
3:
    beqz a2, 4f
    ld t2, 0(a2)            # the first row, its whole weight and its fraction
    ld t3, 8(a2)
    ld t4, 16(a2)
    add t2, t2, t0
    vle8.v v0, (t2)
    vzext.vf2 v16, v0
    vmacc.vx v8, t3, v16
    vsll.vi v16, v16, 8
    vmulhu.vx v16, v16, t4
    vsrl.vi v16, v16, 1
    ld t2, 24(a2)           # the last row
    ld t3, 32(a2)
    ld t4, 40(a2)
    add t2, t2, t0
    vle8.v v0, (t2)
    vzext.vf2 v24, v0
    vmacc.vx v8, t3, v24
    vsll.vi v24, v24, 8
    vmulhu.vx v24, v24, t4
    vsrl.vi v24, v24, 1
    ld t3, 48(a2)           # half of what the shift drops, and the shift
    ld t4, 56(a2)
    vadd.vv v16, v16, v24
    vadd.vx v16, v16, t3
    vsrl.vx v16, v16, t4
    vadd.vv v8, v8, v16
4:
    beqz a6, 5f
    vle16.v v16, (a4)
    vadd.vv v8, v8, v16
5:
    vse16.v v8, (a4)
    slli t2, t1, 1
    add a4, a4, t2
    add t0, t0, t1
    sub a5, a5, t1
    bnez a5, 1b
    ret

# void portraitd_rvv_convert(components, conversion, out, count, step): the weighted sum of three
# rows of f32, clamped to 0..=255, with a gain and a shift. a0: the addresses of the rows, a1:
# weights, offset, gain and shift, a4: bytes from one result to the next.
    .globl portraitd_rvv_convert
    .hidden portraitd_rvv_convert
    .type portraitd_rvv_convert, @function
portraitd_rvv_convert:
    ld t0, 0(a0)
    ld t1, 8(a0)
    ld t2, 16(a0)
    flw fa0, 0(a1)
    flw fa1, 4(a1)
    flw fa2, 8(a1)
    flw fa3, 12(a1)
    flw fa4, 16(a1)
    flw fa5, 20(a1)
    fmv.w.x ft0, zero
    li t3, 0x437f0000       # 255
    fmv.w.x ft1, t3
1:
    vsetvli t3, a3, e32, m8, ta, ma
    vle32.v v8, (t0)
    vle32.v v16, (t1)
    vle32.v v24, (t2)
    slli t4, t3, 2
    vfmul.vf v8, v8, fa0
    vfmul.vf v16, v16, fa1
    vfmul.vf v24, v24, fa2
    vfadd.vv v8, v8, v16
    add t0, t0, t4
    add t1, t1, t4
    add t2, t2, t4
    vfadd.vv v8, v8, v24
    vfadd.vf v8, v8, fa3
    vfmax.vf v8, v8, ft0
    vfmin.vf v8, v8, ft1
    vfmul.vf v8, v8, fa4
    vfadd.vf v8, v8, fa5
    vsse32.v v8, (a2), a4
    mul t4, t3, a4
    sub a3, a3, t3
    add a2, a2, t4
    bnez a3, 1b
    ret

# void portraitd_rvv_weigh(components, weights, out, count): the weighted sum of three rows of f32
# with an offset, as bytes: rounded half up, and clamped.
    .globl portraitd_rvv_weigh
    .hidden portraitd_rvv_weigh
    .type portraitd_rvv_weigh, @function
portraitd_rvv_weigh:
    ld t0, 0(a0)
    ld t1, 8(a0)
    ld t2, 16(a0)
    flw fa0, 0(a1)
    flw fa1, 4(a1)
    flw fa2, 8(a1)
    flw fa3, 12(a1)
    li t3, 0x3f000000       # 1/2
    fmv.w.x ft0, t3
1:
    vsetvli t3, a3, e32, m8, ta, ma
    vle32.v v8, (t0)
    slli t4, t3, 2
    vfmul.vf v8, v8, fa0
    beqz t1, 2f
    vle32.v v16, (t1)
    vle32.v v24, (t2)
    vfmul.vf v16, v16, fa1
    vfmul.vf v24, v24, fa2
    vfadd.vv v8, v8, v16
    add t1, t1, t4
    add t2, t2, t4
    vfadd.vv v8, v8, v24
    vfadd.vf v8, v8, fa3
2:
    add t0, t0, t4
    vfadd.vf v8, v8, ft0
    vsetvli zero, t3, e16, m4, ta, ma
    # Toward zero by the rounding mode: QEMU 7.2 cannot translate the instruction with its own mode.
    fsrmi t5, 1
    vfncvt.xu.f.w v16, v8
    fsrm t5
    vsetvli zero, t3, e8, m2, ta, ma
    vnclipu.wi v24, v16, 0
    vse8.v v24, (a2)
    sub a3, a3, t3
    add a2, a2, t3
    bnez a3, 1b
    ret

    .option pop
