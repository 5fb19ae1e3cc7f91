# Row kernels for RISC-V vectors 1.0. The offsets are those of the structures in nn/rows.rs on a
# 64-bit machine. All vector registers and all `t`, `a`, `ft` and `fa` registers may be changed by a
# callee.
    .option push
    .option arch, +m, +f, +d, +v

# usize portraitd_rvv_lanes(): the numbers in four registers.
    .globl portraitd_rvv_lanes
    .hidden portraitd_rvv_lanes
    .type portraitd_rvv_lanes, @function
portraitd_rvv_lanes:
    vsetvli a0, zero, e32, m4, ta, ma
    ret

# Loads 0, 1/6, 1/2 and 1 for the activations.
.macro portraitd_constants
    fmv.w.x ft8, zero
    li t0, 0x3e2aaaab
    fmv.w.x ft9, t0
    li t0, 0x3f000000
    fmv.w.x ft10, t0
    li t0, 0x3f800000
    fmv.w.x ft11, t0
.endm

# x = x * min(max(x / 6 + 1/2, 0), 1); uses v28.
.macro portraitd_hard_swish x
    vfmul.vf v28, \x, ft9
    vfadd.vf v28, v28, ft10
    vfmax.vf v28, v28, ft8
    vfmin.vf v28, v28, ft11
    vfmul.vv \x, \x, v28
.endm

# Dense tile of one or four output pixels. s0: input, s1: its step, s2: output, s3: its step, s4:
# residual or 0, s5: its step, s6: sums or 0, s8: bytes of a row of weights, s9: activation, s10:
# weights, a0: the row, a1: the biases.
.macro portraitd_conv_tile pixels
    vle32.v v0, (a1)
    beqz s4, 10f
    mv t0, s4
    vle32.v v4, (t0)
    vfadd.vv v4, v4, v0
.if \pixels == 4
    add t0, t0, s5
    vle32.v v8, (t0)
    vfadd.vv v8, v8, v0
    add t0, t0, s5
    vle32.v v12, (t0)
    vfadd.vv v12, v12, v0
    add t0, t0, s5
    vle32.v v16, (t0)
    vfadd.vv v16, v16, v0
.endif
    add s4, t0, s5
    j 11f
10:
    vmv.v.v v4, v0
.if \pixels == 4
    vmv.v.v v8, v0
    vmv.v.v v12, v0
    vmv.v.v v16, v0
.endif
11:
    mv a4, s10
    ld t1, 16(a0)
    ld t2, 24(a0)
    beqz t2, 30f
20:
    ld t3, 0(t1)
    addi t1, t1, 8
    slli t3, t3, 2
    add t3, s0, t3
.if \pixels == 4
    add t4, t3, s1
    add t5, t4, s1
    add t6, t5, s1
.endif
    ld a5, 32(a0)
    andi a6, a5, 3
    srli a5, a5, 2
    beqz a5, 22f
21:
.irp at, 0, 4, 8, 12
    vle32.v v0, (a4)
    flw fa0, \at(t3)
    add a4, a4, s8
.if \pixels == 4
    flw fa1, \at(t4)
    flw fa2, \at(t5)
    flw fa3, \at(t6)
.endif
    vfmacc.vf v4, fa0, v0
.if \pixels == 4
    vfmacc.vf v8, fa1, v0
    vfmacc.vf v12, fa2, v0
    vfmacc.vf v16, fa3, v0
.endif
.endr
    addi t3, t3, 16
.if \pixels == 4
    addi t4, t4, 16
    addi t5, t5, 16
    addi t6, t6, 16
.endif
    addi a5, a5, -1
    bnez a5, 21b
22:
    beqz a6, 24f
23:
    vle32.v v0, (a4)
    flw fa0, 0(t3)
    add a4, a4, s8
    addi t3, t3, 4
.if \pixels == 4
    flw fa1, 0(t4)
    flw fa2, 0(t5)
    flw fa3, 0(t6)
    addi t4, t4, 4
    addi t5, t5, 4
    addi t6, t6, 4
.endif
    vfmacc.vf v4, fa0, v0
.if \pixels == 4
    vfmacc.vf v8, fa1, v0
    vfmacc.vf v12, fa2, v0
    vfmacc.vf v16, fa3, v0
.endif
    addi a6, a6, -1
    bnez a6, 23b
24:
    addi t2, t2, -1
    bnez t2, 20b
30:
    li t0, 1
    bltu s9, t0, 33f
    bne s9, t0, 31f
    vfmax.vf v4, v4, ft8
.if \pixels == 4
    vfmax.vf v8, v8, ft8
    vfmax.vf v12, v12, ft8
    vfmax.vf v16, v16, ft8
.endif
    j 33f
31:
    li t0, 2
    bne s9, t0, 33f
    portraitd_hard_swish v4
.if \pixels == 4
    portraitd_hard_swish v8
    portraitd_hard_swish v12
    portraitd_hard_swish v16
.endif
33:
    vse32.v v4, (s2)
    add s2, s2, s3
    add s0, s0, s1
.if \pixels == 4
    vse32.v v8, (s2)
    add s2, s2, s3
    vse32.v v12, (s2)
    add s2, s2, s3
    vse32.v v16, (s2)
    add s2, s2, s3
    slli t0, s1, 1
    add t0, t0, s1
    add s0, s0, t0
.endif
    beqz s6, 34f
    vle32.v v28, (s6)
    vfadd.vv v28, v28, v4
.if \pixels == 4
    vfadd.vv v28, v28, v8
    vfadd.vv v28, v28, v12
    vfadd.vv v28, v28, v16
.endif
    vse32.v v28, (s6)
34:
.endm

# void portraitd_rvv_conv(row, packed, first, channels)
    .globl portraitd_rvv_conv
    .hidden portraitd_rvv_conv
    .type portraitd_rvv_conv, @function
portraitd_rvv_conv:
    addi sp, sp, -96
    sd s0, 0(sp)
    sd s1, 8(sp)
    sd s2, 16(sp)
    sd s3, 24(sp)
    sd s4, 32(sp)
    sd s5, 40(sp)
    sd s6, 48(sp)
    sd s7, 56(sp)
    sd s8, 64(sp)
    sd s9, 72(sp)
    sd s10, 80(sp)
    portraitd_constants
    vsetvli t0, a3, e32, m4, ta, ma
    slli a2, a2, 2
    ld s0, 0(a0)
    ld s1, 8(a0)
    slli s1, s1, 2
    ld s2, 64(a0)
    add s2, s2, a2
    ld s3, 72(a0)
    slli s3, s3, 2
    ld s4, 80(a0)
    beqz s4, 1f
    add s4, s4, a2
1:
    ld s5, 88(a0)
    slli s5, s5, 2
    ld s6, 96(a0)
    beqz s6, 2f
    add s6, s6, a2
2:
    ld s7, 104(a0)
    slli s8, a3, 2
    lw s9, 120(a0)
    ld t0, 40(a0)
    addi t0, t0, 1
    mul t0, t0, s8
    add s10, a1, t0
3:
    li t0, 4
    bltu s7, t0, 4f
    portraitd_conv_tile 4
    addi s7, s7, -4
    j 3b
4:
    beqz s7, 5f
    portraitd_conv_tile 1
    addi s7, s7, -1
    j 4b
5:
    ld s0, 0(sp)
    ld s1, 8(sp)
    ld s2, 16(sp)
    ld s3, 24(sp)
    ld s4, 32(sp)
    ld s5, 40(sp)
    ld s6, 48(sp)
    ld s7, 56(sp)
    ld s8, 64(sp)
    ld s9, 72(sp)
    ld s10, 80(sp)
    addi sp, sp, 96
    ret

# Depthwise tile of one or four output pixels. s0: first column's offset, s1: bytes per input pixel,
# s2: output, s3: its step, s4: addend or 0, s5: bytes from window to window, s6: sums or 0, s8:
# bytes of a row of weights, s9: activation, s10: weights, a0: the row, a1: the biases.
.macro portraitd_depthwise_tile pixels
    vle32.v v4, (a1)
.if \pixels == 4
    vmv.v.v v8, v4
    vmv.v.v v12, v4
    vmv.v.v v16, v4
.endif
    mv a4, s10
    ld t1, 0(a0)
    ld t2, 8(a0)
    beqz t2, 30f
20:
    ld t3, 0(t1)
    addi t1, t1, 8
    add t3, t3, s0
.if \pixels == 4
    add t4, t3, s5
    add t5, t4, s5
    add t6, t5, s5
.endif
    ld a5, 24(a0)
21:
    vle32.v v0, (a4)
    add a4, a4, s8
    vle32.v v20, (t3)
    add t3, t3, s1
    vfmacc.vv v4, v20, v0
.if \pixels == 4
    vle32.v v24, (t4)
    add t4, t4, s1
    vfmacc.vv v8, v24, v0
    vle32.v v20, (t5)
    add t5, t5, s1
    vfmacc.vv v12, v20, v0
    vle32.v v24, (t6)
    add t6, t6, s1
    vfmacc.vv v16, v24, v0
.endif
    addi a5, a5, -1
    bnez a5, 21b
    addi t2, t2, -1
    bnez t2, 20b
30:
    li t0, 1
    bltu s9, t0, 33f
    bne s9, t0, 31f
    vfmax.vf v4, v4, ft8
.if \pixels == 4
    vfmax.vf v8, v8, ft8
    vfmax.vf v12, v12, ft8
    vfmax.vf v16, v16, ft8
.endif
    j 33f
31:
    portraitd_hard_swish v4
.if \pixels == 4
    portraitd_hard_swish v8
    portraitd_hard_swish v12
    portraitd_hard_swish v16
.endif
33:
    beqz s4, 35f
    vle32.v v20, (s4)
    add s4, s4, s1
    vfadd.vv v4, v4, v20
.if \pixels == 4
    vle32.v v20, (s4)
    add s4, s4, s1
    vfadd.vv v8, v8, v20
    vle32.v v20, (s4)
    add s4, s4, s1
    vfadd.vv v12, v12, v20
    vle32.v v20, (s4)
    add s4, s4, s1
    vfadd.vv v16, v16, v20
.endif
35:
    vse32.v v4, (s2)
    add s2, s2, s3
    add s0, s0, s5
.if \pixels == 4
    vse32.v v8, (s2)
    add s2, s2, s3
    vse32.v v12, (s2)
    add s2, s2, s3
    vse32.v v16, (s2)
    add s2, s2, s3
    slli t0, s5, 1
    add t0, t0, s5
    add s0, s0, t0
.endif
    beqz s6, 34f
    vle32.v v28, (s6)
    vfadd.vv v28, v28, v4
.if \pixels == 4
    vfadd.vv v28, v28, v8
    vfadd.vv v28, v28, v12
    vfadd.vv v28, v28, v16
.endif
    vse32.v v28, (s6)
34:
.endm

# void portraitd_rvv_depthwise(row, packed, first, channels)
    .globl portraitd_rvv_depthwise
    .hidden portraitd_rvv_depthwise
    .type portraitd_rvv_depthwise, @function
portraitd_rvv_depthwise:
    addi sp, sp, -96
    sd s0, 0(sp)
    sd s1, 8(sp)
    sd s2, 16(sp)
    sd s3, 24(sp)
    sd s4, 32(sp)
    sd s5, 40(sp)
    sd s6, 48(sp)
    sd s7, 56(sp)
    sd s8, 64(sp)
    sd s9, 72(sp)
    sd s10, 80(sp)
    portraitd_constants
    vsetvli t0, a3, e32, m4, ta, ma
    slli s0, a2, 2
    ld s1, 40(a0)
    slli s1, s1, 2
    ld s2, 56(a0)
    add s2, s2, s0
    ld s3, 64(a0)
    slli s3, s3, 2
    ld s4, 72(a0)
    beqz s4, 1f
    add s4, s4, s0
1:
    ld s5, 32(a0)
    mul s5, s5, s1
    ld s6, 80(a0)
    beqz s6, 2f
    add s6, s6, s0
2:
    ld s7, 88(a0)
    slli s8, a3, 2
    lw s9, 104(a0)
    ld t0, 16(a0)
    ld t1, 24(a0)
    mul t0, t0, t1
    addi t0, t0, 1
    mul t0, t0, s8
    add s10, a1, t0
3:
    li t0, 4
    bltu s7, t0, 4f
    portraitd_depthwise_tile 4
    addi s7, s7, -4
    j 3b
4:
    beqz s7, 5f
    portraitd_depthwise_tile 1
    addi s7, s7, -1
    j 4b
5:
    ld s0, 0(sp)
    ld s1, 8(sp)
    ld s2, 16(sp)
    ld s3, 24(sp)
    ld s4, 32(sp)
    ld s5, 40(sp)
    ld s6, 48(sp)
    ld s7, 56(sp)
    ld s8, 64(sp)
    ld s9, 72(sp)
    ld s10, 80(sp)
    addi sp, sp, 96
    ret

# void portraitd_rvv_upsample(row, first, channels)
#
# v8: a quarter of the previous pixel, v16 and v12: a quarter and three quarters of this pixel, v20
# and v24: the same of the next pixel.
    .globl portraitd_rvv_upsample
    .hidden portraitd_rvv_upsample
    .type portraitd_rvv_upsample, @function
portraitd_rvv_upsample:
    li t0, 0x3e800000
    fmv.w.x ft0, t0
    li t0, 0x3f400000
    fmv.w.x ft1, t0
    vsetvli t0, a2, e32, m4, ta, ma
    slli a1, a1, 2
    ld t1, 0(a0)
    add t1, t1, a1
    ld t2, 8(a0)
    add t2, t2, a1
    ld t3, 16(a0)
    slli t3, t3, 2
    ld t4, 24(a0)
    add t4, t4, a1
    ld t5, 32(a0)
    slli t5, t5, 2
    ld t6, 40(a0)
    vle32.v v4, (t1)
    vle32.v v0, (t2)
    vfmul.vf v4, v4, ft1
    vfmacc.vf v4, ft0, v0
    vfmul.vf v16, v4, ft0
    vfmul.vf v12, v4, ft1
    vmv.v.v v8, v16
1:
    addi t6, t6, -1
    beqz t6, 2f
    add t1, t1, t3
    add t2, t2, t3
    vle32.v v4, (t1)
    vle32.v v0, (t2)
    vfmul.vf v4, v4, ft1
    vfmacc.vf v4, ft0, v0
    vfmul.vf v20, v4, ft0
    vfmul.vf v24, v4, ft1
    vfadd.vv v28, v12, v8
    vse32.v v28, (t4)
    add t4, t4, t5
    vfadd.vv v28, v12, v20
    vse32.v v28, (t4)
    add t4, t4, t5
    vmv.v.v v8, v16
    vmv.v.v v16, v20
    vmv.v.v v12, v24
    j 1b
2:
    vfadd.vv v28, v12, v8
    vse32.v v28, (t4)
    add t4, t4, t5
    vfadd.vv v28, v12, v16
    vse32.v v28, (t4)
    ret

# void portraitd_rvv_sigmoid(data, length): 1 / (1 + e^-x). The method is that of `sigmoid` in
# nn/generic/activation.rs.
    .globl portraitd_rvv_sigmoid
    .hidden portraitd_rvv_sigmoid
    .type portraitd_rvv_sigmoid, @function
portraitd_rvv_sigmoid:
    li t0, 0xc2ae0000       # -87
    fmv.w.x ft0, t0
    li t0, 0x42ae0000       # 87
    fmv.w.x ft1, t0
    li t0, 0x3fb8aa3b       # 1 / ln 2
    fmv.w.x ft2, t0
    li t0, 0x3f318000       # ln 2, the high part
    fmv.w.x ft3, t0
    li t0, 0xb95e8083       # and the low part
    fmv.w.x ft4, t0
    li t0, 0x3f800000       # 1
    fmv.w.x ft5, t0
    li t0, 0x3c091ee7       # 0.008369184
    fmv.w.x ft6, t0
    li t0, 0x3d2bb1f5       # 0.04191776
    fmv.w.x ft7, t0
    li t0, 0x3e2aaa3e       # 0.16666505
    fmv.w.x fa0, t0
    li t0, 0x3efffe84       # 0.49998868
    fmv.w.x fa1, t0
    li t2, 127
1:
    beqz a1, 2f
    vsetvli t0, a1, e32, m4, ta, ma
    vle32.v v4, (a0)
    vfneg.v v4, v4
    vfmax.vf v4, v4, ft0
    vfmin.vf v4, v4, ft1
    vfmul.vf v8, v4, ft2
    vfcvt.x.f.v v8, v8      # n, to the nearest
    vfcvt.f.x.v v12, v8
    vfnmsac.vf v4, ft3, v12
    vfnmsac.vf v4, ft4, v12
    vadd.vx v8, v8, t2
    vsll.vi v8, v8, 23      # 2^n
    vfmv.v.f v16, ft7
    vfmacc.vf v16, ft6, v4
    vfmul.vv v16, v16, v4
    vfadd.vf v16, v16, fa0
    vfmul.vv v16, v16, v4
    vfadd.vf v16, v16, fa1
    vfmul.vv v16, v16, v4
    vfadd.vf v16, v16, ft5
    vfmul.vv v16, v16, v4
    vfadd.vf v16, v16, ft5
    vfmul.vv v16, v16, v8
    vfadd.vf v16, v16, ft5
    vfrdiv.vf v16, v16, ft5
    vse32.v v16, (a0)
    slli t1, t0, 2
    add a0, a0, t1
    sub a1, a1, t0
    j 1b
2:
    ret

    .option pop
