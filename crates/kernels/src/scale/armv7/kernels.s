@ The loops of the scaler for 32-bit Arm with NEON. They fit any ARMv7, whatever the target features
@ of the build are. Registers q4 to q7 are left alone.
    .syntax unified
    .arm
    .fpu neon
    .text
    .p2align 2

@ Starts a function.
.macro portraitd_armv7_function name
    .globl \name
    .hidden \name
    .type \name, %function
\name:
.endm

@ void portraitd_neon_down_samples(rows, weights, taps, bias, out, groups): the vertical filter from
@ rows of i16 to bytes, 16 columns to a group. r0: the addresses of the rows, r1: i16 weights. The
@ upper half of a product is half of what `vqdmulh` gives.
portraitd_armv7_function portraitd_neon_down_samples
    push {r4-r9, lr}
    ldr r4, [sp, #28]       @ out
    ldr r5, [sp, #32]       @ groups
    vdup.16 q15, r3
    cmp r2, #4
    bne 2f
    ldm r0, {r6-r9}
    vld1.16 {d0}, [r1]
1:
    vld1.16 {q8, q9}, [r6]!
    vld1.16 {q10, q11}, [r7]!
    vld1.16 {q12, q13}, [r8]!
    vmov q2, q15
    vmov q3, q15
    vqdmulh.s16 q8, q8, d0[0]
    vqdmulh.s16 q9, q9, d0[0]
    vqdmulh.s16 q10, q10, d0[1]
    vqdmulh.s16 q11, q11, d0[1]
    vqdmulh.s16 q12, q12, d0[2]
    vqdmulh.s16 q13, q13, d0[2]
    vsra.s16 q2, q8, #1
    vsra.s16 q3, q9, #1
    vld1.16 {q8, q9}, [r9]!
    vsra.s16 q2, q10, #1
    vsra.s16 q3, q11, #1
    vqdmulh.s16 q8, q8, d0[3]
    vqdmulh.s16 q9, q9, d0[3]
    vsra.s16 q2, q12, #1
    vsra.s16 q3, q13, #1
    vsra.s16 q2, q8, #1
    vsra.s16 q3, q9, #1
    vqshrun.s16 d4, q2, #4
    vqshrun.s16 d5, q3, #4
    vst1.8 {q2}, [r4]!
    subs r5, r5, #1
    bne 1b
    pop {r4-r9, pc}
    @ Another number of rows.
2:
    mov r3, #0              @ bytes of a row that are done
3:
    vmov q2, q15
    vmov q3, q15
    mov r6, r0
    mov r7, r1
    mov r8, r2
4:
    ldr r9, [r6], #4
    vld1.16 {d0[], d1[]}, [r7]!
    add r9, r9, r3
    vld1.16 {q8, q9}, [r9]
    subs r8, r8, #1
    vqdmulh.s16 q8, q8, q0
    vqdmulh.s16 q9, q9, q0
    vsra.s16 q2, q8, #1
    vsra.s16 q3, q9, #1
    bne 4b
    vqshrun.s16 d4, q2, #4
    vqshrun.s16 d5, q3, #4
    vst1.8 {q2}, [r4]!
    add r3, r3, #32
    subs r5, r5, #1
    bne 3b
    pop {r4-r9, pc}

@ void portraitd_neon_down_bytes(rows, weights, taps, bias, out, groups): the vertical filter from
@ rows of bytes to i16, 16 columns to a group.
portraitd_armv7_function portraitd_neon_down_bytes
    push {r4-r9, lr}
    ldr r4, [sp, #28]       @ out
    ldr r5, [sp, #32]       @ groups
    vdup.16 q15, r3
    mov r3, #0              @ bytes of a row that are done
1:
    vmov q2, q15
    vmov q3, q15
    mov r6, r0
    mov r7, r1
    mov r8, r2
2:
    ldr r9, [r6], #4
    vld1.16 {d0[], d1[]}, [r7]!
    add r9, r9, r3
    vld1.8 {q8}, [r9]
    subs r8, r8, #1
    vshll.u8 q9, d16, #6    @ `vqdmulh` doubles
    vshll.u8 q10, d17, #6
    vqdmulh.s16 q9, q9, q0
    vqdmulh.s16 q10, q10, q0
    vadd.i16 q2, q2, q9
    vadd.i16 q3, q3, q10
    bne 2b
    vst1.16 {q2, q3}, [r4]!
    add r3, r3, #16
    subs r5, r5, #1
    bne 1b
    pop {r4-r9, pc}

@ Picks the bytes of four taps of eight outputs from the window, and adds their products with the
@ weights to q2 and q3. The step is in d16 to d31.
.macro portraitd_armv7_taps window:vararg
    vtbl.8 d16, {\window}, d16
    vtbl.8 d17, {\window}, d17
    vtbl.8 d18, {\window}, d18
    vtbl.8 d19, {\window}, d19
    vmlal.s16 q2, d16, d24
    vmlal.s16 q3, d17, d25
    vtbl.8 d20, {\window}, d20
    vtbl.8 d21, {\window}, d21
    vmlal.s16 q2, d18, d26
    vmlal.s16 q3, d19, d27
    vtbl.8 d22, {\window}, d22
    vtbl.8 d23, {\window}, d23
    vmlal.s16 q2, d20, d28
    vmlal.s16 q3, d21, d29
    vmlal.s16 q2, d22, d30
    vmlal.s16 q3, d23, d31
.endm

@ void portraitd_neon_along(row, steps, bases, depth, out, eights, joint): the horizontal filter of
@ bytes to i16, eight outputs at a time. r1: `depth` steps for each eight outputs, r2: the windows of
@ each step, one if `joint` is not 0, else two.
portraitd_armv7_function portraitd_neon_along
    push {r4-r9, lr}
    ldr r4, [sp, #28]       @ out
    ldr r5, [sp, #32]       @ eights
    ldr r6, [sp, #36]       @ joint
    cmp r6, #0
    beq 3f
1:
    vmov.i32 q2, #0
    vmov.i32 q3, #0
    mov r6, r3
2:
    ldr r7, [r2], #4
    vldm r1!, {d16-d31}
    add r7, r0, r7
    vld1.8 {q0}, [r7]
    portraitd_armv7_taps d0, d1
    subs r6, r6, #1
    bne 2b
    vqrshrn.s32 d4, q2, #8
    vqrshrn.s32 d5, q3, #8
    vst1.16 {q2}, [r4]!
    subs r5, r5, #1
    bne 1b
    pop {r4-r9, pc}
3:
    vmov.i32 q2, #0
    vmov.i32 q3, #0
    mov r6, r3
4:
    ldr r7, [r2], #4
    ldr r8, [r2], #4
    vldm r1!, {d16-d31}
    add r7, r0, r7
    add r8, r0, r8
    vld1.8 {q0}, [r7]
    vld1.8 {q1}, [r8]
    portraitd_armv7_taps d0, d1, d2, d3
    subs r6, r6, #1
    bne 4b
    vqrshrn.s32 d4, q2, #8
    vqrshrn.s32 d5, q3, #8
    vst1.16 {q2}, [r4]!
    subs r5, r5, #1
    bne 3b
    pop {r4-r9, pc}

@ The products of `taps` samples and weights, summed in four lanes of \sum. r0: the samples, r1: the
@ starts, r2: the weights, r3: the number of taps.
.macro portraitd_armv7_products sum
    ldr r6, [r1], #4
    mov r7, r3
    add r6, r0, r6, lsl #1
    vmov.i32 \sum, #0
9:
    vld1.16 {d16}, [r6]!
    vld1.16 {d17}, [r2]!
    subs r7, r7, #4
    vmlal.s16 \sum, d16, d17
    bne 9b
.endm

@ void portraitd_neon_to_floats(samples, starts, weights, taps, out, fours): filters i16 along a row
@ to f32, four outputs at a time. `taps` is a multiple of four.
portraitd_armv7_function portraitd_neon_to_floats
    push {r4-r7, lr}
    ldr r4, [sp, #20]       @ out
    ldr r5, [sp, #24]       @ fours
1:
    portraitd_armv7_products q0
    portraitd_armv7_products q1
    portraitd_armv7_products q2
    portraitd_armv7_products q3
    vpadd.i32 d0, d0, d1
    vpadd.i32 d2, d2, d3
    vpadd.i32 d4, d4, d5
    vpadd.i32 d6, d6, d7
    vpadd.i32 d0, d0, d2
    vpadd.i32 d1, d4, d6
    vcvt.f32.s32 q0, q0
    vst1.32 {q0}, [r4]!
    subs r5, r5, #1
    bne 1b
    pop {r4-r7, pc}

@ The same for two channels that alternate.
.macro portraitd_armv7_products_of_two first, second
    ldr r6, [r1], #4
    mov r7, r3
    add r6, r0, r6, lsl #2
    vmov.i32 \first, #0
    vmov.i32 \second, #0
9:
    vld2.16 {d0, d1}, [r6]!
    vld1.16 {d2}, [r2]!
    subs r7, r7, #4
    vmlal.s16 \first, d0, d2
    vmlal.s16 \second, d1, d2
    bne 9b
.endm

@ void portraitd_neon_pair_to_floats(samples, starts, weights, taps, out, fours, second): as above,
@ for two channels that alternate. r5: the second output.
portraitd_armv7_function portraitd_neon_pair_to_floats
    push {r4-r8, lr}
    ldr r4, [sp, #24]       @ out
    ldr r8, [sp, #28]       @ fours
    ldr r5, [sp, #32]       @ second
1:
    portraitd_armv7_products_of_two q8, q12
    portraitd_armv7_products_of_two q9, q13
    portraitd_armv7_products_of_two q10, q14
    portraitd_armv7_products_of_two q11, q15
    vpadd.i32 d16, d16, d17
    vpadd.i32 d18, d18, d19
    vpadd.i32 d20, d20, d21
    vpadd.i32 d22, d22, d23
    vpadd.i32 d24, d24, d25
    vpadd.i32 d26, d26, d27
    vpadd.i32 d28, d28, d29
    vpadd.i32 d30, d30, d31
    vpadd.i32 d0, d16, d18
    vpadd.i32 d1, d20, d22
    vpadd.i32 d2, d24, d26
    vpadd.i32 d3, d28, d30
    vcvt.f32.s32 q0, q0
    vcvt.f32.s32 q1, q1
    vst1.32 {q0}, [r4]!
    vst1.32 {q1}, [r5]!
    subs r8, r8, #1
    bne 1b
    pop {r4-r8, pc}

    .purgem portraitd_armv7_function
    .purgem portraitd_armv7_taps
    .purgem portraitd_armv7_products
    .purgem portraitd_armv7_products_of_two
