# The loops of blending for RISC-V vectors 1.0. All of them take any vector length. All vector
# registers and all `t`, `a`, `ft` and `fa` registers may be changed by a callee.
#
# Sums and products of floats are not fused where their results are rounded.
    .option push
    .option arch, +m, +f, +d, +v

# Starts a function.
    .macro portraitd_function name
    .globl \name
    .hidden \name
    .type \name, @function
\name:
    .endm

# void portraitd_rvv_mix(foreground, background, alpha, out, count, opaque, times): mixes two rows
# of bytes. A share of the foreground is `times` what alpha has above `opaque`.
    portraitd_function portraitd_rvv_mix
    li t1, 128
1:
    vsetvli t0, a4, e8, m4, ta, ma
    vle8.v v8, (a2)
    vle8.v v0, (a0)
    vle8.v v4, (a1)
    vssubu.vx v8, v8, a5
    vmul.vx v8, v8, a6
    vwmulu.vv v16, v0, v8
    vxor.vi v8, v8, -1
    vwmaccu.vv v16, v4, v8
    add a0, a0, t0
    add a1, a1, t0
    add a2, a2, t0
    sub a4, a4, t0
    vsetvli zero, t0, e16, m8, ta, ma
    vadd.vx v16, v16, t1
    vsrl.vi v24, v16, 8
    vadd.vv v16, v16, v24
    vsetvli zero, t0, e8, m4, ta, ma
    vnsrl.wi v0, v16, 8
    vse8.v v0, (a3)
    add a3, a3, t0
    bnez a4, 1b
    ret

# usize portraitd_rvv_shape(values, count, low, span, gain, over): the smoothstep of bytes, in
# place. Returns whether any result is not 0.
    portraitd_function portraitd_rvv_shape
    li t1, 24480            # three quarters of the value one
    li t2, 8257
    vsetvli t0, zero, e8, m4, ta, ma
    vmv.v.i v4, 0
1:
    vsetvli t0, a1, e8, m4, tu, ma
    vle8.v v0, (a0)
    vssubu.vx v0, v0, a2
    vminu.vx v0, v0, a3
    vsetvli zero, t0, e16, m8, ta, ma
    vzext.vf2 v8, v0
    vmul.vx v16, v8, a5
    vmul.vx v8, v8, a4
    vsrl.vi v16, v16, 7
    vadd.vv v8, v8, v16
    vmulh.vv v16, v8, v8
    vsrl.vi v8, v8, 1
    vrsub.vx v8, v8, t1
    vmulh.vv v16, v16, v8
    vadd.vi v16, v16, 4
    vmulh.vx v16, v16, t2
    vmax.vx v16, v16, zero
    vsetvli zero, t0, e8, m4, tu, ma
    vnclipu.wi v0, v16, 0
    vse8.v v0, (a0)
    vor.vv v4, v4, v0
    add a0, a0, t0
    sub a1, a1, t0
    bnez a1, 1b
    vsetvli t0, zero, e8, m4, ta, ma
    vmv.s.x v0, zero
    vredmaxu.vs v0, v4, v0
    vmv.x.s a0, v0
    snez a0, a0
    ret

# void portraitd_rvv_chroma_alpha(upper, lower, out, pairs): the mean of each block of two by two
# bytes, twice.
    portraitd_function portraitd_rvv_chroma_alpha
1:
    vsetvli t0, a3, e8, m2, ta, ma
    vlseg2e8.v v0, (a0)
    vlseg2e8.v v4, (a1)
    slli t1, t0, 1
    add a0, a0, t1
    add a1, a1, t1
    vwaddu.vv v8, v0, v2
    vwaddu.wv v8, v8, v4
    vwaddu.wv v8, v8, v6
    vsetvli zero, t0, e16, m4, ta, ma
    vadd.vi v8, v8, 2
    vsetvli zero, t0, e8, m2, ta, ma
    vnsrl.wi v12, v8, 2
    vmv.v.v v14, v12
    vsseg2e8.v v12, (a2)
    add a2, a2, t1
    sub a3, a3, t0
    bnez a3, 1b
    ret

# void portraitd_rvv_between(upper, lower, weight, out, count): interpolates between two rows of
# i16, with a weight in units of 1/32768.
    portraitd_function portraitd_rvv_between
    li t1, 16384
1:
    vsetvli t0, a4, e16, m4, ta, ma
    vle16.v v0, (a0)
    vle16.v v4, (a1)
    slli t2, t0, 1
    add a0, a0, t2
    add a1, a1, t2
    sub a4, a4, t0
    vsub.vv v4, v4, v0
    vwmul.vx v8, v4, a2
    vsetvli zero, t0, e32, m8, ta, ma
    vadd.vx v8, v8, t1
    vsetvli zero, t0, e16, m4, ta, ma
    vnsra.wi v4, v8, 15
    vadd.vv v0, v0, v4
    vse16.v v0, (a3)
    add a3, a3, t2
    bnez a4, 1b
    ret

# void portraitd_rvv_expand(cells, weights, phases, out, count): interpolates `count` cells of i16
# to `phases` pixels each, with weights in units of 1/32768. There is one cell more.
    portraitd_function portraitd_rvv_expand
    slli a5, a2, 1          # bytes from a pixel to that of the next cell
1:
    vsetvli t0, a4, e16, m8, ta, ma
    addi t1, a0, 2
    vle16.v v8, (a0)
    vle16.v v16, (t1)
    slli t1, t0, 1
    add a0, a0, t1
    vsub.vv v16, v16, v8
    mv t1, a1
    mv t2, a2
    mv t3, a3
2:
    lh t4, 0(t1)
    addi t1, t1, 2
    addi t2, t2, -1
    vmulh.vx v24, v16, t4
    vsll.vi v24, v24, 1
    vadd.vv v24, v24, v8
    vsse16.v v24, (t3), a5
    addi t3, t3, 2
    bnez t2, 2b
    mul t1, t0, a5
    add a3, a3, t1
    sub a4, a4, t0
    bnez a4, 1b
    ret

# void portraitd_rvv_apply(gains, offsets, luma, out, count): the mask of pixels, from gains with 10
# fractional bits, offsets with 2, and bytes of luma.
    portraitd_function portraitd_rvv_apply
    li t1, -128
1:
    vsetvli t0, a4, e8, m4, ta, ma
    vle8.v v0, (a2)
    vsetvli zero, t0, e16, m8, ta, ma
    vle16.v v16, (a0)
    vle16.v v24, (a1)
    slli t2, t0, 1
    add a0, a0, t2
    add a1, a1, t2
    add a2, a2, t0
    vzext.vf2 v8, v0
    vadd.vx v8, v8, t1
    vsll.vi v8, v8, 8
    vmulh.vv v8, v8, v16
    vsadd.vv v8, v8, v24
    vsadd.vi v8, v8, 2
    vsra.vi v8, v8, 2
    vmax.vx v8, v8, zero
    vsetvli zero, t0, e8, m4, ta, ma
    vnclipu.wi v0, v8, 0
    vse8.v v0, (a3)
    add a3, a3, t0
    sub a4, a4, t0
    bnez a4, 1b
    ret

# void portraitd_rvv_halve(upper, lower, out, count): the means of two by two bytes as f32, less 128.
    portraitd_function portraitd_rvv_halve
    li t1, -128
1:
    vsetvli t0, a3, e8, m1, ta, ma
    vlseg2e8.v v0, (a0)
    vlseg2e8.v v2, (a1)
    slli t2, t0, 1
    add a0, a0, t2
    add a1, a1, t2
    vwaddu.vv v4, v0, v1
    vwaddu.wv v4, v4, v2
    vwaddu.wv v4, v4, v3
    vsetvli zero, t0, e16, m2, ta, ma
    vadd.vi v4, v4, 2
    vsrl.vi v4, v4, 2
    vadd.vx v4, v4, t1
    vfwcvt.f.x.v v8, v4
    vse32.v v8, (a2)
    slli t2, t0, 2
    add a2, a2, t2
    sub a3, a3, t0
    bnez a3, 1b
    ret

# void portraitd_rvv_split(pairs, first, second, count): pairs of bytes as two rows of f32, less 128.
    portraitd_function portraitd_rvv_split
    li t1, -128
1:
    vsetvli t0, a3, e8, m1, ta, ma
    vlseg2e8.v v0, (a0)
    slli t2, t0, 1
    add a0, a0, t2
    vsetvli zero, t0, e16, m2, ta, ma
    vzext.vf2 v2, v0
    vzext.vf2 v4, v1
    vadd.vx v2, v2, t1
    vadd.vx v4, v4, t1
    vfwcvt.f.x.v v8, v2
    vfwcvt.f.x.v v12, v4
    vse32.v v8, (a1)
    vse32.v v12, (a2)
    slli t2, t0, 2
    add a1, a1, t2
    add a2, a2, t2
    sub a3, a3, t0
    bnez a3, 1b
    ret

# void portraitd_rvv_cell_weights(mask, weights, count, opaque): five times what bytes have above `opaque`,
# as f32.
    portraitd_function portraitd_rvv_cell_weights
    li t1, 5
1:
    vsetvli t0, a2, e8, m1, ta, ma
    vle8.v v0, (a0)
    add a0, a0, t0
    vssubu.vx v0, v0, a3
    vmul.vx v0, v0, t1
    vsetvli zero, t0, e16, m2, ta, ma
    vzext.vf2 v2, v0
    vfwcvt.f.xu.v v4, v2
    vse32.v v4, (a1)
    slli t2, t0, 2
    add a1, a1, t2
    sub a2, a2, t0
    bnez a2, 1b
    ret

# Adds \value to the next row of sums, or the product of \value and \other.
    .macro portraitd_accumulate value, other
    vle32.v v16, (t1)
    .ifb \other
    vfadd.vv v16, v16, \value
    .else
    vfmacc.vv v16, \value, \other
    .endif
    vse32.v v16, (t1)
    add t1, t1, a5
    .endm

# Advances the four rows in a0 to a3 and the sums in a4, and repeats from label 1 if there are more.
    .macro portraitd_next_cells
    slli t2, t0, 2
    add a0, a0, t2
    add a1, a1, t2
    add a2, a2, t2
    add a3, a3, t2
    add a4, a4, t2
    sub a6, a6, t0
    bnez a6, 1b
    ret
    .endm

# void portraitd_rvv_add_moments(y, cb, cr, mask, sums, stride, count, sign): adds the moments of a
# row of cells to 13 rows of sums, which are `stride` bytes apart. All numbers are whole, so fused
# sums are exact.
    portraitd_function portraitd_rvv_add_moments
1:
    vsetvli t0, a6, e32, m2, ta, ma
    vle32.v v0, (a0)
    vle32.v v2, (a1)
    vle32.v v4, (a2)
    vle32.v v6, (a3)
    vfmul.vf v8, v0, fa0
    vfmul.vf v10, v2, fa0
    vfmul.vf v12, v4, fa0
    vfmul.vf v14, v6, fa0
    mv t1, a4
    portraitd_accumulate v8
    portraitd_accumulate v10
    portraitd_accumulate v12
    portraitd_accumulate v14
    portraitd_accumulate v0, v14
    portraitd_accumulate v2, v14
    portraitd_accumulate v4, v14
    portraitd_accumulate v0, v8
    portraitd_accumulate v0, v10
    portraitd_accumulate v0, v12
    portraitd_accumulate v2, v10
    portraitd_accumulate v2, v12
    portraitd_accumulate v4, v12
    portraitd_next_cells

# void portraitd_rvv_add_colors(y, cb, cr, weights, sums, stride, count, sign): adds the weights and
# the weighted colours of a row of cells to 4 rows of sums, as above.
    portraitd_function portraitd_rvv_add_colors
1:
    vsetvli t0, a6, e32, m2, ta, ma
    vle32.v v0, (a0)
    vle32.v v2, (a1)
    vle32.v v4, (a2)
    vle32.v v6, (a3)
    vfmul.vf v14, v6, fa0
    mv t1, a4
    portraitd_accumulate v14
    portraitd_accumulate v0, v14
    portraitd_accumulate v2, v14
    portraitd_accumulate v4, v14
    portraitd_next_cells

# void portraitd_rvv_sum_along(row, out, count, window): the sums of `window` neighbours of f32.
    portraitd_function portraitd_rvv_sum_along
1:
    vsetvli t0, a2, e32, m8, ta, ma
    vmv.v.i v8, 0
    mv t1, a0
    mv t2, a3
2:
    vle32.v v16, (t1)
    addi t1, t1, 4
    addi t2, t2, -1
    vfadd.vv v8, v8, v16
    bnez t2, 2b
    vse32.v v8, (a1)
    slli t1, t0, 2
    add a0, a0, t1
    add a1, a1, t1
    sub a2, a2, t0
    bnez a2, 1b
    ret

# void portraitd_rvv_add(row, sums, count): adds a row of f32 to sums.
    portraitd_function portraitd_rvv_add
1:
    vsetvli t0, a2, e32, m8, ta, ma
    vle32.v v8, (a0)
    vle32.v v16, (a1)
    slli t1, t0, 2
    add a0, a0, t1
    sub a2, a2, t0
    vfadd.vv v16, v16, v8
    vse32.v v16, (a1)
    add a1, a1, t1
    bnez a2, 1b
    ret

# Loads the next row of sums and makes it a mean.
    .macro portraitd_mean to
    vle32.v \to, (t1)
    add t1, t1, a1
    vfmul.vv \to, \to, v0
    .endm

# \to -= \a * \b
    .macro portraitd_less to, a, b
    vfmul.vv v31, \a, \b
    vfsub.vv \to, \to, v31
    .endm

# \to = \a * \b - \c * \d
    .macro portraitd_minor to, a, b, c, d
    vfmul.vv \to, \a, \b
    portraitd_less \to, \c, \d
    .endm

# \to = \a * v5 + \b * v6 + \c * v7
    .macro portraitd_dot to, a, b, c, x, y, z
    vfmul.vv \to, \a, \x
    vfmul.vv v31, \b, \y
    vfadd.vv \to, \to, v31
    vfmul.vv v31, \c, \z
    vfadd.vv \to, \to, v31
    .endm

# void portraitd_rvv_fit(sums, stride, columns, out, count, height, noise of luma, noise of chroma):
# fits the mask to the colours. 13 rows of sums and 4 of results are `stride` bytes apart.
    portraitd_function portraitd_rvv_fit
    li t0, 0x3f800000       # 1
    fmv.w.x ft0, t0
1:
    vsetvli t0, a4, e32, m1, ta, ma
    vle32.v v1, (a2)
    vfmul.vf v1, v1, fa0
    vfrdiv.vf v0, v1, ft0
    mv t1, a0
    portraitd_mean v1       # Y, Cb, Cr and the mask
    portraitd_mean v2
    portraitd_mean v3
    portraitd_mean v4
    portraitd_mean v5       # the mask times each colour
    portraitd_mean v6
    portraitd_mean v7
    portraitd_mean v8       # the products of colours
    portraitd_mean v9
    portraitd_mean v10
    portraitd_mean v11
    portraitd_mean v12
    portraitd_mean v13
    portraitd_less v5, v1, v4
    portraitd_less v6, v2, v4
    portraitd_less v7, v3, v4
    portraitd_less v8, v1, v1
    portraitd_less v9, v1, v2
    portraitd_less v10, v1, v3
    portraitd_less v11, v2, v2
    portraitd_less v12, v2, v3
    portraitd_less v13, v3, v3
    vfadd.vf v8, v8, fa1
    vfadd.vf v11, v11, fa2
    vfadd.vf v13, v13, fa2
    portraitd_minor v14, v11, v13, v12, v12
    portraitd_minor v15, v10, v12, v9, v13
    portraitd_minor v16, v9, v12, v10, v11
    portraitd_minor v17, v8, v13, v10, v10
    portraitd_minor v18, v9, v10, v8, v12
    portraitd_minor v19, v8, v11, v9, v9
    portraitd_dot v20, v8, v9, v10, v14, v15, v16
    vfmax.vf v20, v20, ft0
    vfrdiv.vf v20, v20, ft0
    portraitd_dot v21, v14, v15, v16, v5, v6, v7
    portraitd_dot v22, v15, v17, v18, v5, v6, v7
    portraitd_dot v23, v16, v18, v19, v5, v6, v7
    vfmul.vv v21, v21, v20
    vfmul.vv v22, v22, v20
    vfmul.vv v23, v23, v20
    portraitd_less v4, v21, v1
    portraitd_less v4, v22, v2
    portraitd_less v4, v23, v3
    mv t1, a3
    vse32.v v21, (t1)
    add t1, t1, a1
    vse32.v v22, (t1)
    add t1, t1, a1
    vse32.v v23, (t1)
    add t1, t1, a1
    vse32.v v4, (t1)
    slli t2, t0, 2
    add a0, a0, t2
    add a2, a2, t2
    add a3, a3, t2
    sub a4, a4, t0
    bnez a4, 1b
    ret

# Stores the nearest whole numbers of \value * \scale within -\largest..=\largest as i16. ft1 leaves
# a whole number in the low bits of a sum.
    .macro portraitd_store_fixed value, scale, smallest, largest, to
    vfmul.vf v16, \value, \scale
    vfmin.vf v16, v16, \largest
    vfmax.vf v16, v16, \smallest
    vfadd.vf v16, v16, ft1
    vsetvli zero, t0, e16, m1, ta, ma
    vnsrl.wi v20, v16, 0
    vse16.v v20, (\to)
    vsetvli zero, t0, e32, m2, ta, ma
    .endm

# void portraitd_rvv_finish(rows, stride, count, constants): gains, offsets and masks of cells. a0:
# the addresses of the fits (4 rows `stride` bytes apart), columns, Y, Cb, Cr, gains, offsets and
# masks. a3: the height of windows, the scales of gains and offsets, and the limit of both.
    portraitd_function portraitd_rvv_finish
    ld a4, 0(a0)
    ld a5, 8(a0)
    ld a6, 16(a0)
    ld a7, 24(a0)
    ld t3, 32(a0)
    ld t4, 40(a0)
    ld t5, 48(a0)
    ld t6, 56(a0)
    flw fa0, 0(a3)
    flw fa1, 4(a3)
    flw fa2, 8(a3)
    flw fa3, 12(a3)
    fneg.s fa4, fa3
    li t0, 0x3f800000       # 1
    fmv.w.x ft0, t0
    li t0, 0x4b400000       # 3 * 2^22
    fmv.w.x ft1, t0
    fmv.w.x ft2, zero
    li t0, 0x437f0000       # 255
    fmv.w.x ft3, t0
1:
    vsetvli t0, a2, e32, m2, ta, ma
    vle32.v v0, (a5)
    vfmul.vf v0, v0, fa0
    vfrdiv.vf v0, v0, ft0
    mv t1, a4
    vle32.v v2, (t1)
    add t1, t1, a1
    vle32.v v4, (t1)
    add t1, t1, a1
    vle32.v v6, (t1)
    add t1, t1, a1
    vle32.v v8, (t1)
    vle32.v v10, (a6)
    vle32.v v12, (a7)
    vle32.v v14, (t3)
    vfmul.vv v2, v2, v0     # the gain
    vfmul.vv v4, v4, v12
    vfmul.vv v6, v6, v14
    vfadd.vv v4, v4, v6
    vfadd.vv v4, v4, v8
    vfmul.vv v4, v4, v0     # the offset
    portraitd_store_fixed v2, fa1, fa4, fa3, t4
    portraitd_store_fixed v4, fa2, fa4, fa3, t5
    vfmul.vv v2, v2, v10
    vfadd.vv v2, v2, v4
    vfmax.vf v2, v2, ft2
    vfmin.vf v2, v2, ft3
    vfadd.vf v2, v2, ft1
    vsetvli zero, t0, e16, m1, ta, ma
    vnsrl.wi v20, v2, 0
    vsetvli zero, t0, e8, mf2, ta, ma
    vnsrl.wi v21, v20, 0
    vse8.v v21, (t6)
    slli t2, t0, 1
    add t4, t4, t2
    add t5, t5, t2
    add t6, t6, t0
    slli t2, t2, 1
    add a4, a4, t2
    add a5, a5, t2
    add a6, a6, t2
    add a7, a7, t2
    add t3, t3, t2
    sub a2, a2, t0
    bnez a2, 1b
    ret

# void portraitd_rvv_mean_color(weights, weighted, own, out, count): (weighted + own) / (weights +
# 1) + 128 as bytes.
    portraitd_function portraitd_rvv_mean_color
    li t0, 0x3f800000       # 1
    fmv.w.x ft0, t0
    li t0, 0x4b400000       # 3 * 2^22
    fmv.w.x ft1, t0
    fmv.w.x ft2, zero
    li t0, 0x437f0000       # 255
    fmv.w.x ft3, t0
    li t0, 0x43000000       # 128
    fmv.w.x ft4, t0
1:
    vsetvli t0, a4, e32, m4, ta, ma
    vle32.v v0, (a0)
    vle32.v v4, (a1)
    vle32.v v8, (a2)
    vfadd.vf v0, v0, ft0
    vfadd.vv v4, v4, v8
    vfdiv.vv v4, v4, v0
    vfadd.vf v4, v4, ft4
    vfmax.vf v4, v4, ft2
    vfmin.vf v4, v4, ft3
    vfadd.vf v4, v4, ft1
    vsetvli zero, t0, e16, m2, ta, ma
    vnsrl.wi v8, v4, 0
    vsetvli zero, t0, e8, m1, ta, ma
    vnsrl.wi v10, v8, 0
    vse8.v v10, (a3)
    slli t1, t0, 2
    add a0, a0, t1
    add a1, a1, t1
    add a2, a2, t1
    add a3, a3, t0
    sub a4, a4, t0
    bnez a4, 1b
    ret

# void portraitd_rvv_step_down(next, gone, sums, out, count, inverse): writes the means of the sums
# (i32) as u16, and moves the sums on by a row.
    portraitd_function portraitd_rvv_step_down
    li t0, 0x4b000000       # 2^23
    fmv.w.x ft0, t0
1:
    vsetvli t0, a4, e16, m4, ta, ma
    vle16.v v0, (a0)
    vle16.v v4, (a1)
    slli t1, t0, 1
    add a0, a0, t1
    add a1, a1, t1
    vsetvli zero, t0, e32, m8, ta, ma
    vle32.v v8, (a2)
    vfcvt.f.x.v v16, v8
    vfmul.vf v16, v16, fa0
    vfadd.vf v16, v16, ft0
    vsetvli zero, t0, e16, m4, ta, ma
    vwaddu.wv v8, v8, v0
    vwsubu.wv v8, v8, v4
    vnsrl.wi v24, v16, 0
    vse16.v v24, (a3)
    add a3, a3, t1
    slli t1, t1, 1
    vse32.v v8, (a2)
    add a2, a2, t1
    sub a4, a4, t0
    bnez a4, 1b
    ret

    .purgem portraitd_function
    .purgem portraitd_accumulate
    .purgem portraitd_next_cells
    .purgem portraitd_mean
    .purgem portraitd_less
    .purgem portraitd_minor
    .purgem portraitd_dot
    .purgem portraitd_store_fixed
    .option pop
