# The loops of the scaler for RISC-V vectors 1.0. All of them take any vector length. All vector
# registers and all `t` and `a` registers may be changed by a callee.
    .option push
    .option arch, +m, +v

# usize portraitd_rvv_bytes(): the bytes of a register.
    .globl portraitd_rvv_bytes
    .hidden portraitd_rvv_bytes
    .type portraitd_rvv_bytes, @function
portraitd_rvv_bytes:
    csrr a0, vlenb
    ret

# void portraitd_rvv_down_samples(rows, weights, taps, bias, out, count): the vertical filter from
# rows of i16 to bytes. a0: the addresses of the rows, a1: i16 weights, a4: out.
    .globl portraitd_rvv_down_samples
    .hidden portraitd_rvv_down_samples
    .type portraitd_rvv_down_samples, @function
portraitd_rvv_down_samples:
    csrwi vxrm, 2
    li t0, 4
    beq a2, t0, 5f
    li t0, 0                # bytes of a row that are done
1:
    vsetvli t1, a5, e16, m8, ta, ma
    vmv.v.x v8, a3
    mv t2, a0
    mv t3, a1
    mv t4, a2
2:
    ld t5, 0(t2)
    lh t6, 0(t3)
    add t5, t5, t0
    vle16.v v16, (t5)
    addi t2, t2, 8
    addi t3, t3, 2
    addi t4, t4, -1
    vmulh.vx v16, v16, t6
    vadd.vv v8, v8, v16
    bnez t4, 2b
    vmax.vx v8, v8, zero
    vsetvli zero, t1, e8, m4, ta, ma
    vnclipu.wi v24, v8, 4
    vse8.v v24, (a4)
    add a4, a4, t1
    sub a5, a5, t1
    slli t1, t1, 1
    add t0, t0, t1
    bnez a5, 1b
    ret
    # Four rows, whose addresses and weights stay in registers.
5:
    ld t0, 0(a0)
    ld t1, 8(a0)
    ld t2, 16(a0)
    ld t3, 24(a0)
    lh t4, 0(a1)
    lh t5, 2(a1)
    lh t6, 4(a1)
    lh a7, 6(a1)
6:
    vsetvli a1, a5, e16, m8, ta, ma
    slli a2, a1, 1
    vle16.v v8, (t0)
    vle16.v v16, (t1)
    vmulh.vx v8, v8, t4
    vmulh.vx v16, v16, t5
    vle16.v v24, (t2)
    vadd.vv v8, v8, v16
    vle16.v v16, (t3)
    vmulh.vx v24, v24, t6
    vmulh.vx v16, v16, a7
    vadd.vv v8, v8, v24
    vadd.vv v8, v8, v16
    vadd.vx v8, v8, a3
    vmax.vx v8, v8, zero
    vsetvli zero, a1, e8, m4, ta, ma
    vnclipu.wi v24, v8, 4
    vse8.v v24, (a4)
    add t0, t0, a2
    add t1, t1, a2
    add t2, t2, a2
    add t3, t3, a2
    add a4, a4, a1
    sub a5, a5, a1
    bnez a5, 6b
    ret

# void portraitd_rvv_down_bytes(rows, weights, taps, bias, out, count): the vertical filter from
# rows of bytes to i16.
    .globl portraitd_rvv_down_bytes
    .hidden portraitd_rvv_down_bytes
    .type portraitd_rvv_down_bytes, @function
portraitd_rvv_down_bytes:
    li t0, 0                # columns that are done
1:
    vsetvli t1, a5, e16, m8, ta, ma
    vmv.v.x v8, a3
    mv t2, a0
    mv t3, a1
    mv t4, a2
2:
    ld t5, 0(t2)
    lh t6, 0(t3)
    add t5, t5, t0
    vle8.v v24, (t5)
    addi t2, t2, 8
    addi t3, t3, 2
    addi t4, t4, -1
    vzext.vf2 v16, v24
    vsll.vi v16, v16, 7
    vmulh.vx v16, v16, t6
    vadd.vv v8, v8, v16
    bnez t4, 2b
    vse16.v v8, (a4)
    slli t2, t1, 1
    add a4, a4, t2
    sub a5, a5, t1
    add t0, t0, t1
    bnez a5, 1b
    ret

# void portraitd_rvv_along(row, groups, count, controls, weights, parts, step, out): the horizontal
# filter from bytes to i16, with four taps for each of the parts. A group is the start of its window
# (u32), the bytes of the window (u16), and its outputs (u16). There is one control per output, and
# for each tap one i16 weight per output of a group. The window of a tap starts `step` bytes after
# that of the tap before.
.macro portraitd_rvv_windows
    vsetvli zero, t1, e8, m1, ta, ma
    vle8.v v2, (t0)
    add t0, t0, a6
    vle8.v v3, (t0)
    add t0, t0, a6
    vle8.v v4, (t0)
    add t0, t0, a6
    vle8.v v5, (t0)
    vsetvli zero, t2, e8, m1, ta, ma
    vrgather.vv v8, v2, v1
    vrgather.vv v9, v3, v1
    vrgather.vv v10, v4, v1
    vrgather.vv v11, v5, v1
    vsetvli zero, t2, e16, m2, ta, ma
.endm
.macro portraitd_rvv_tap picked, multiply
    vle16.v v14, (a4)
    vzext.vf2 v12, \picked
    add a4, a4, t3
    \multiply v16, v12, v14
.endm
    .globl portraitd_rvv_along
    .hidden portraitd_rvv_along
    .type portraitd_rvv_along, @function
portraitd_rvv_along:
    csrwi vxrm, 0
1:
    lwu t0, 0(a1)
    lhu t1, 4(a1)
    lhu t2, 6(a1)
    addi a1, a1, 8
    add t0, t0, a0
    slli t3, t2, 1
    addi t4, a5, -1
    vsetvli zero, t2, e8, m1, ta, ma
    vle8.v v1, (a3)
    add a3, a3, t2
    portraitd_rvv_windows
    portraitd_rvv_tap v8, vwmul.vv
    portraitd_rvv_tap v9, vwmacc.vv
    portraitd_rvv_tap v10, vwmacc.vv
    portraitd_rvv_tap v11, vwmacc.vv
    beqz t4, 3f
2:
    add t0, t0, a6
    portraitd_rvv_windows
    portraitd_rvv_tap v8, vwmacc.vv
    portraitd_rvv_tap v9, vwmacc.vv
    portraitd_rvv_tap v10, vwmacc.vv
    portraitd_rvv_tap v11, vwmacc.vv
    addi t4, t4, -1
    bnez t4, 2b
3:
    vnclip.wi v12, v16, 8
    addi a2, a2, -1
    vse16.v v12, (a7)
    add a7, a7, t3
    bnez a2, 1b
    ret

# Weighted sums of i16 samples at any place: a0: samples, a1: u16 offsets of the first tap of each
# output in bytes, a2: weights, one i16 per output for each tap, a3: taps, a4: bytes from one tap to
# the next, a5: out, a6: outputs, a7: bytes from one output to the next. The sums are i32.
.macro portraitd_rvv_indexed_sums
    slli t6, a6, 1          # bytes of a tap's weights
1:
    vsetvli t0, a6, e16, m4, ta, ma
    vle16.v v4, (a1)
    mv t1, a0
    mv t2, a2
    mv t3, a3
    vluxei16.v v8, (t1), v4
    vle16.v v12, (t2)
    add t1, t1, a4
    add t2, t2, t6
    addi t3, t3, -1
    vwmul.vv v16, v8, v12
    beqz t3, 3f
2:
    vluxei16.v v8, (t1), v4
    vle16.v v12, (t2)
    add t1, t1, a4
    add t2, t2, t6
    addi t3, t3, -1
    vwmacc.vv v16, v8, v12
    bnez t3, 2b
3:
.endm
.macro portraitd_rvv_indexed_next
    mul t1, t0, a7
    slli t2, t0, 1
    add a5, a5, t1
    add a1, a1, t2
    add a2, a2, t2
    sub a6, a6, t0
    bnez a6, 1b
    ret
.endm

# As floats that still contain the scale of the weights.
    .globl portraitd_rvv_indexed_to_floats
    .hidden portraitd_rvv_indexed_to_floats
    .type portraitd_rvv_indexed_to_floats, @function
portraitd_rvv_indexed_to_floats:
    portraitd_rvv_indexed_sums
    vsetvli zero, t0, e32, m8, ta, ma
    vfcvt.f.x.v v16, v16
    vse32.v v16, (a5)
    portraitd_rvv_indexed_next

# As bytes, of samples with 5 fractional bits.
    .globl portraitd_rvv_indexed_to_bytes
    .hidden portraitd_rvv_indexed_to_bytes
    .type portraitd_rvv_indexed_to_bytes, @function
portraitd_rvv_indexed_to_bytes:
    csrwi vxrm, 0
    portraitd_rvv_indexed_sums
    vsetvli zero, t0, e32, m8, ta, ma
    vssra.vi v16, v16, 19
    vmax.vx v16, v16, zero
    vsetvli zero, t0, e16, m4, ta, ma
    vnclipu.wi v8, v16, 0
    vsetvli zero, t0, e8, m2, ta, ma
    vnclipu.wi v4, v8, 0
    vsse8.v v4, (a5), a7
    portraitd_rvv_indexed_next

    .option pop
