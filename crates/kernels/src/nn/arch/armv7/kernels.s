@ Row kernels for 32-bit Arm with NEON. The offsets are those of the structures in nn/rows.rs on a
@ 32-bit machine (checked in mod.rs). A block of channels is one or two vectors (4 or 8 channels); a
@ tile is one or four pixels. NEON of this architecture multiplies by a lane without fusing, so
@ products are rounded before they are added. Numbers under 2^-126 count as zero.
    .syntax unified
    .arm
    .fpu neon
    .text
    .p2align 2

.macro portraitd_enter
    push {r4-r11, lr}
    vpush {d8-d15}
    sub sp, sp, #20
.endm

.macro portraitd_leave
    add sp, sp, #20
    vpop {d8-d15}
    pop {r4-r11, pc}
.endm

@ x = x * min(max(x / 6 + 1/2, 0), 1); q0 to q3 are 0, 1/6, 1/2, 1; uses q4.
.macro portraitd_hard_swish x
    vmov q4, q2
    vmla.f32 q4, \x, q1
    vmax.f32 q4, q4, q0
    vmin.f32 q4, q4, q3
    vmul.f32 \x, \x, q4
.endm

@ Applies the activation in r12 (none, ReLU or hard swish) to the accumulators from q8 on.
.macro portraitd_activate pixels, vectors
    cmp r12, #1
    blo 33f
    vmov.i32 q0, #0
    bne 31f
    vmax.f32 q8, q8, q0
.if \pixels * \vectors > 1
    vmax.f32 q9, q9, q0
.endif
.if \pixels * \vectors > 2
    vmax.f32 q10, q10, q0
    vmax.f32 q11, q11, q0
.endif
.if \pixels * \vectors > 4
    vmax.f32 q12, q12, q0
    vmax.f32 q13, q13, q0
    vmax.f32 q14, q14, q0
    vmax.f32 q15, q15, q0
.endif
    b 33f
31:
    movw r12, #0xaaab
    movt r12, #0x3e2a
    vdup.32 q1, r12
    vmov.f32 q2, #0.5
    vmov.f32 q3, #1.0
    portraitd_hard_swish q8
.if \pixels * \vectors > 1
    portraitd_hard_swish q9
.endif
.if \pixels * \vectors > 2
    portraitd_hard_swish q10
    portraitd_hard_swish q11
.endif
.if \pixels * \vectors > 4
    portraitd_hard_swish q12
    portraitd_hard_swish q13
    portraitd_hard_swish q14
    portraitd_hard_swish q15
.endif
33:
.endm

@ Adds a row of vectors at r9, lr bytes apart, to the accumulators; uses q0 and q1.
.macro portraitd_add_rows pixels, vectors
.if \vectors == 2
    vld1.32 {d0-d3}, [r9], lr
    vadd.f32 q8, q8, q0
    vadd.f32 q9, q9, q1
.if \pixels == 4
    vld1.32 {d0-d3}, [r9], lr
    vadd.f32 q10, q10, q0
    vadd.f32 q11, q11, q1
    vld1.32 {d0-d3}, [r9], lr
    vadd.f32 q12, q12, q0
    vadd.f32 q13, q13, q1
    vld1.32 {d0-d3}, [r9], lr
    vadd.f32 q14, q14, q0
    vadd.f32 q15, q15, q1
.endif
.else
    vld1.32 {d0-d1}, [r9], lr
    vadd.f32 q8, q8, q0
.if \pixels == 4
    vld1.32 {d0-d1}, [r9], lr
    vadd.f32 q9, q9, q0
    vld1.32 {d0-d1}, [r9], lr
    vadd.f32 q10, q10, q0
    vld1.32 {d0-d1}, [r9], lr
    vadd.f32 q11, q11, q0
.endif
.endif
.endm

@ Stores the accumulators at r9, lr bytes apart.
.macro portraitd_store_rows pixels, vectors
.if \vectors == 2
    vst1.32 {d16-d19}, [r9], lr
.if \pixels == 4
    vst1.32 {d20-d23}, [r9], lr
    vst1.32 {d24-d27}, [r9], lr
    vst1.32 {d28-d31}, [r9], lr
.endif
.else
    vst1.32 {d16-d17}, [r9], lr
.if \pixels == 4
    vst1.32 {d18-d19}, [r9], lr
    vst1.32 {d20-d21}, [r9], lr
    vst1.32 {d22-d23}, [r9], lr
.endif
.endif
.endm

@ Adds the accumulators to the sums at r9; uses q0 and q1.
.macro portraitd_add_sums pixels, vectors
.if \vectors == 2
    vld1.32 {d0-d3}, [r9]
    vadd.f32 q0, q0, q8
    vadd.f32 q1, q1, q9
.if \pixels == 4
    vadd.f32 q0, q0, q10
    vadd.f32 q1, q1, q11
    vadd.f32 q0, q0, q12
    vadd.f32 q1, q1, q13
    vadd.f32 q0, q0, q14
    vadd.f32 q1, q1, q15
.endif
    vst1.32 {d0-d3}, [r9]
.else
    vld1.32 {d0-d1}, [r9]
    vadd.f32 q0, q0, q8
.if \pixels == 4
    vadd.f32 q0, q0, q9
    vadd.f32 q0, q0, q10
    vadd.f32 q0, q0, q11
.endif
    vst1.32 {d0-d1}, [r9]
.endif
.endm

@ Sets all accumulators to the biases.
.macro portraitd_begin pixels, vectors
.if \vectors == 2
    vld1.32 {d16-d19}, [r1]
.if \pixels == 4
    vmov q10, q8
    vmov q11, q9
    vmov q12, q8
    vmov q13, q9
    vmov q14, q8
    vmov q15, q9
.endif
.else
    vld1.32 {d16-d17}, [r1]
.if \pixels == 4
    vmov q9, q8
    vmov q10, q8
    vmov q11, q8
.endif
.endif
.endm

@ The values that a kernel keeps on its stack.
    .equ .Lweights, 0
    .equ .Lwidth, 4
    .equ .Loutput, 8
    .equ .Laddend, 12
    .equ .Lsums, 16

@ One depth of a dense tile: weights q\w (and q\v), lane \lane of each pixel's d\p0 to d\p3.
.macro portraitd_lane pixels, vectors, w, v, p0, p1, p2, p3, lane
.if \vectors == 2
    vmla.f32 q8, q\w, d\p0[\lane]
    vmla.f32 q9, q\v, d\p0[\lane]
.if \pixels == 4
    vmla.f32 q10, q\w, d\p1[\lane]
    vmla.f32 q11, q\v, d\p1[\lane]
    vmla.f32 q12, q\w, d\p2[\lane]
    vmla.f32 q13, q\v, d\p2[\lane]
    vmla.f32 q14, q\w, d\p3[\lane]
    vmla.f32 q15, q\v, d\p3[\lane]
.endif
.else
    vmla.f32 q8, q\w, d\p0[\lane]
.if \pixels == 4
    vmla.f32 q9, q\w, d\p1[\lane]
    vmla.f32 q10, q\w, d\p2[\lane]
    vmla.f32 q11, q\w, d\p3[\lane]
.endif
.endif
.endm

@ Dense tile of one or four output pixels. r0: the row, r1: the biases, r4: the first pixel's
@ window, r5: bytes from window to window, r2: weights, r3 r6 r7 r8: the pixels, r9: offsets, r10:
@ segments, r11: depths divided by four, r12: the remaining depths.
.macro portraitd_conv_tile pixels, vectors
    portraitd_begin \pixels, \vectors
    ldr r9, [sp, #.Laddend]
    cmp r9, #0
    beq 11f
    ldr lr, [r0, #44]
    lsl lr, lr, #2
    portraitd_add_rows \pixels, \vectors
    str r9, [sp, #.Laddend]
11:
    ldr r2, [sp, #.Lweights]
    ldr r9, [r0, #8]
    ldr r10, [r0, #12]
    cmp r10, #0
    beq 30f
20:
    ldr r3, [r9], #4
    add r3, r4, r3, lsl #2
.if \pixels == 4
    add r6, r3, r5
    add r7, r6, r5
    add r8, r7, r5
.endif
    ldr r12, [r0, #16]
    lsrs r11, r12, #2
    and r12, r12, #3
    beq 22f
21:
    vld1.32 {d0-d1}, [r3]!
.if \pixels == 4
    vld1.32 {d2-d3}, [r6]!
    vld1.32 {d4-d5}, [r7]!
    vld1.32 {d6-d7}, [r8]!
.endif
    vldmia r2!, {d8-d15}
.if \vectors == 2
    portraitd_lane \pixels, 2, 4, 5, 0, 2, 4, 6, 0
    portraitd_lane \pixels, 2, 6, 7, 0, 2, 4, 6, 1
    vldmia r2!, {d8-d15}
    portraitd_lane \pixels, 2, 4, 5, 1, 3, 5, 7, 0
    portraitd_lane \pixels, 2, 6, 7, 1, 3, 5, 7, 1
.else
    portraitd_lane \pixels, 1, 4, 4, 0, 2, 4, 6, 0
    portraitd_lane \pixels, 1, 5, 5, 0, 2, 4, 6, 1
    portraitd_lane \pixels, 1, 6, 6, 1, 3, 5, 7, 0
    portraitd_lane \pixels, 1, 7, 7, 1, 3, 5, 7, 1
.endif
    subs r11, r11, #1
    bne 21b
22:
    cmp r12, #0
    beq 24f
23:
    vld1.32 {d0[]}, [r3]!
.if \pixels == 4
    vld1.32 {d2[]}, [r6]!
    vld1.32 {d4[]}, [r7]!
    vld1.32 {d6[]}, [r8]!
.endif
.if \vectors == 2
    vldmia r2!, {d8-d11}
.else
    vldmia r2!, {d8-d9}
.endif
    portraitd_lane \pixels, \vectors, 4, 5, 0, 2, 4, 6, 0
    subs r12, r12, #1
    bne 23b
24:
    subs r10, r10, #1
    bne 20b
30:
    ldr r12, [r0, #60]
    portraitd_activate \pixels, \vectors
    ldr r9, [sp, #.Loutput]
    ldr lr, [r0, #36]
    lsl lr, lr, #2
    portraitd_store_rows \pixels, \vectors
    str r9, [sp, #.Loutput]
    ldr r9, [sp, #.Lsums]
    cmp r9, #0
    beq 34f
    portraitd_add_sums \pixels, \vectors
34:
.if \pixels == 4
    add r4, r4, r5, lsl #2
.else
    add r4, r4, r5
.endif
.endm

@ void portraitd_neon_conv8(row, packed, first), and the same for 4 channels
.macro portraitd_conv name, vectors
    .globl \name
    .hidden \name
    .type \name, %function
\name:
    portraitd_enter
    ldr r4, [r0, #0]
    ldr r5, [r0, #4]
    lsl r5, r5, #2
    ldr r3, [r0, #20]
    add r3, r3, #1
    add r3, r1, r3, lsl #(3 + \vectors)
    str r3, [sp, #.Lweights]
    ldr r3, [r0, #52]
    str r3, [sp, #.Lwidth]
    ldr r3, [r0, #32]
    add r3, r3, r2, lsl #2
    str r3, [sp, #.Loutput]
    ldr r3, [r0, #40]
    cmp r3, #0
    addne r3, r3, r2, lsl #2
    str r3, [sp, #.Laddend]
    ldr r3, [r0, #48]
    cmp r3, #0
    addne r3, r3, r2, lsl #2
    str r3, [sp, #.Lsums]
3:
    ldr r12, [sp, #.Lwidth]
    subs r12, r12, #4
    blo 4f
    str r12, [sp, #.Lwidth]
    portraitd_conv_tile 4, \vectors
    b 3b
4:
    ldr r12, [sp, #.Lwidth]
    subs r12, r12, #1
    blo 5f
    str r12, [sp, #.Lwidth]
    portraitd_conv_tile 1, \vectors
    b 4b
5:
    portraitd_leave
.endm
    portraitd_conv portraitd_neon_conv8, 2
    portraitd_conv portraitd_neon_conv4, 1

@ Depthwise tile of one or four output pixels. r0: the row, r1: the biases, r4: the first window's
@ offset, r5: bytes from window to window, r2: weights, r3 r6 r7 r8: the pixels, r9: rows, r10:
@ number of rows, r11: columns, r12: bytes per input pixel.
.macro portraitd_depthwise_tile pixels, vectors
    portraitd_begin \pixels, \vectors
    ldr r2, [sp, #.Lweights]
    ldr r9, [r0, #0]
    ldr r10, [r0, #4]
    ldr r12, [r0, #20]
    lsl r12, r12, #2
    cmp r10, #0
    beq 30f
20:
    ldr r3, [r9], #4
    add r3, r3, r4
.if \pixels == 4
    add r6, r3, r5
    add r7, r6, r5
    add r8, r7, r5
.endif
    ldr r11, [r0, #12]
21:
.if \vectors == 2
    vldmia r2!, {d8-d11}
    vld1.32 {d0-d3}, [r3], r12
    vmla.f32 q8, q0, q4
    vmla.f32 q9, q1, q5
.if \pixels == 4
    vld1.32 {d4-d7}, [r6], r12
    vmla.f32 q10, q2, q4
    vmla.f32 q11, q3, q5
    vld1.32 {d0-d3}, [r7], r12
    vmla.f32 q12, q0, q4
    vmla.f32 q13, q1, q5
    vld1.32 {d4-d7}, [r8], r12
    vmla.f32 q14, q2, q4
    vmla.f32 q15, q3, q5
.endif
.else
    vldmia r2!, {d8-d9}
    vld1.32 {d0-d1}, [r3], r12
    vmla.f32 q8, q0, q4
.if \pixels == 4
    vld1.32 {d2-d3}, [r6], r12
    vmla.f32 q9, q1, q4
    vld1.32 {d4-d5}, [r7], r12
    vmla.f32 q10, q2, q4
    vld1.32 {d6-d7}, [r8], r12
    vmla.f32 q11, q3, q4
.endif
.endif
    subs r11, r11, #1
    bne 21b
    subs r10, r10, #1
    bne 20b
30:
    ldr r12, [r0, #52]
    portraitd_activate \pixels, \vectors
    ldr r9, [sp, #.Laddend]
    cmp r9, #0
    beq 34f
    ldr lr, [r0, #20]
    lsl lr, lr, #2
    portraitd_add_rows \pixels, \vectors
    str r9, [sp, #.Laddend]
34:
    ldr r9, [sp, #.Loutput]
    ldr lr, [r0, #32]
    lsl lr, lr, #2
    portraitd_store_rows \pixels, \vectors
    str r9, [sp, #.Loutput]
    ldr r9, [sp, #.Lsums]
    cmp r9, #0
    beq 35f
    portraitd_add_sums \pixels, \vectors
35:
.if \pixels == 4
    add r4, r4, r5, lsl #2
.else
    add r4, r4, r5
.endif
.endm

@ void portraitd_neon_depthwise8(row, packed, first), and the same for 4 channels
.macro portraitd_depthwise name, vectors
    .globl \name
    .hidden \name
    .type \name, %function
\name:
    portraitd_enter
    lsl r4, r2, #2
    ldr r3, [r0, #16]
    ldr r5, [r0, #20]
    mul r5, r5, r3
    lsl r5, r5, #2
    ldr r3, [r0, #8]
    ldr r6, [r0, #12]
    mul r3, r3, r6
    add r3, r3, #1
    add r3, r1, r3, lsl #(3 + \vectors)
    str r3, [sp, #.Lweights]
    ldr r3, [r0, #44]
    str r3, [sp, #.Lwidth]
    ldr r3, [r0, #28]
    add r3, r3, r4
    str r3, [sp, #.Loutput]
    ldr r3, [r0, #36]
    cmp r3, #0
    addne r3, r3, r4
    str r3, [sp, #.Laddend]
    ldr r3, [r0, #40]
    cmp r3, #0
    addne r3, r3, r4
    str r3, [sp, #.Lsums]
3:
    ldr r12, [sp, #.Lwidth]
    subs r12, r12, #4
    blo 4f
    str r12, [sp, #.Lwidth]
    portraitd_depthwise_tile 4, \vectors
    b 3b
4:
    ldr r12, [sp, #.Lwidth]
    subs r12, r12, #1
    blo 5f
    str r12, [sp, #.Lwidth]
    portraitd_depthwise_tile 1, \vectors
    b 4b
5:
    portraitd_leave
.endm
    portraitd_depthwise portraitd_neon_depthwise8, 2
    portraitd_depthwise portraitd_neon_depthwise4, 1

@ void portraitd_neon_upsample(row, first): upsamples 4 channels. q0: a quarter of the previous
@ pixel, q1 and q2: a quarter and three quarters of this pixel, q3 and q8: the same of the next
@ pixel.
    .globl portraitd_neon_upsample
    .hidden portraitd_neon_upsample
    .type portraitd_neon_upsample, %function
portraitd_neon_upsample:
    push {r4-r7}
    vmov.f32 q14, #0.25
    vmov.f32 q15, #0.75
    ldr r2, [r0, #0]
    add r2, r2, r1, lsl #2
    ldr r3, [r0, #4]
    add r3, r3, r1, lsl #2
    ldr r4, [r0, #8]
    lsl r4, r4, #2
    ldr r5, [r0, #12]
    add r5, r5, r1, lsl #2
    ldr r6, [r0, #16]
    lsl r6, r6, #2
    ldr r7, [r0, #20]
    vld1.32 {d18-d19}, [r2], r4
    vld1.32 {d20-d21}, [r3], r4
    vmul.f32 q9, q9, q15
    vmla.f32 q9, q10, q14
    vmul.f32 q1, q9, q14
    vmul.f32 q2, q9, q15
    vmov q0, q1
1:
    subs r7, r7, #1
    beq 2f
    vld1.32 {d18-d19}, [r2], r4
    vld1.32 {d20-d21}, [r3], r4
    vmul.f32 q9, q9, q15
    vmla.f32 q9, q10, q14
    vmul.f32 q3, q9, q14
    vmul.f32 q8, q9, q15
    vadd.f32 q11, q2, q0
    vst1.32 {d22-d23}, [r5], r6
    vadd.f32 q12, q2, q3
    vst1.32 {d24-d25}, [r5], r6
    vmov q0, q1
    vmov q1, q3
    vmov q2, q8
    b 1b
2:
    vadd.f32 q11, q2, q0
    vst1.32 {d22-d23}, [r5], r6
    vadd.f32 q12, q2, q1
    vst1.32 {d24-d25}, [r5]
    pop {r4-r7}
    bx lr

@ void portraitd_neon_sigmoid(data, vectors): 1 / (1 + e^-x) of four times as many numbers, at least
@ one vector. The method is that of `sigmoid` in nn/generic/activation.rs.
    .globl portraitd_neon_sigmoid
    .hidden portraitd_neon_sigmoid
    .type portraitd_neon_sigmoid, %function
portraitd_neon_sigmoid:
    adr r2, 9f
    vldmia r2, {d0-d6}
1:
    vld1.32 {d16-d17}, [r0]
    vneg.f32 q8, q8
    vdup.32 q9, d0[0]
    vmax.f32 q8, q8, q9
    vdup.32 q9, d0[1]
    vmin.f32 q8, q8, q9
    vdup.32 q10, d2[1]
    vmov q9, q10
    vmla.f32 q9, q8, d1[0]      @ n in the low bits
    vsub.f32 q10, q9, q10       @ n
    vmla.f32 q8, q10, d1[1]
    vmla.f32 q8, q10, d2[0]     @ r
    vdup.32 q11, d6[0]
    vadd.i32 q9, q9, q11
    vshl.i32 q9, q9, #23        @ 2^n
    vdup.32 q11, d3[0]
    vdup.32 q12, d3[1]
    vmla.f32 q12, q11, q8
    vdup.32 q11, d4[0]
    vmla.f32 q11, q12, q8
    vdup.32 q12, d4[1]
    vmla.f32 q12, q11, q8
    vdup.32 q11, d5[0]
    vmla.f32 q11, q12, q8
    vdup.32 q12, d5[1]
    vmla.f32 q12, q11, q8
    vdup.32 q11, d5[0]
    vmla.f32 q11, q12, q9
    vrecpe.f32 q12, q11         @ there is no division: an estimate of 8 bits, made 16 and 24
    vrecps.f32 q13, q12, q11
    vmul.f32 q12, q12, q13
    vrecps.f32 q13, q12, q11
    vmul.f32 q12, q12, q13
    vst1.32 {d24-d25}, [r0]!
    subs r1, r1, #1
    bne 1b
    bx lr
    .p2align 3
9:
    .float -87.0, 87.0
    .float 1.4426950408889634, -0.6933594
    .float 2.1219444e-4, 12582912.0
    .float 0.008369184, 0.04191776
    .float 0.16666505, 0.49998868
    .float 1.0, 1.0000001
    .word 127, 0

    .fpu vfpv3-d16
