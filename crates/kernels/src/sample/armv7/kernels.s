@ The loops of the sampler for 32-bit Arm with NEON. They fit any ARMv7, whatever the target features
@ of the build are. Registers q4 to q7 are left alone.
    .syntax unified
    .arm
    .fpu neon
    .text
    .p2align 2

@ Adds the share of a weighted row. r6: its entry in `Edges` of sample/armv7/mod.rs: the row, its
@ whole weight and its fraction. The sums are in q0 and q1, those of the fractions in q2 and q3.
.macro portraitd_armv7_edge
    ldm r6!, {r7-r9}
    add r7, r7, r12
    vld1.8 {q8}, [r7]
    vdup.16 q9, r8
    vmovl.u8 q10, d16
    vmovl.u8 q11, d17
    vmla.i16 q0, q10, q9
    vmla.i16 q1, q11, q9
    vshl.u16 q10, q10, #8
    vshl.u16 q11, q11, #8
    vdup.16 d18, r9
    vmull.u16 q12, d20, d18
    vmull.u16 q13, d21, d18
    vmull.u16 q14, d22, d18
    vmull.u16 q15, d23, d18
    vshrn.i32 d20, q12, #16
    vshrn.i32 d21, q13, #16
    vshrn.i32 d22, q14, #16
    vshrn.i32 d23, q15, #16
    vsra.u16 q2, q10, #1
    vsra.u16 q3, q11, #1
.endm

@ void portraitd_neon_sum_rows(rows, row_count, edges, bits, out, groups, add): the sums of rows of
@ bytes, with `bits` fractional bits, 16 columns to a group. r2: 0, or the two weighted rows, and
@ then half of what the shift drops, and the negative shift. The result is added to what `out` holds
@ if `add` is not 0.
    .globl portraitd_neon_sum_rows
    .hidden portraitd_neon_sum_rows
    .type portraitd_neon_sum_rows, %function
portraitd_neon_sum_rows:
    push {r4-r11, lr}
    ldr r4, [sp, #36]       @ out
    ldr r5, [sp, #40]       @ groups
    ldr r10, [sp, #44]      @ add
    mov r12, #0             @ columns that are done
1:
    vmov.i16 q0, #0
    vmov.i16 q1, #0
    movs r7, r1
    mov r6, r0
    beq 3f
2:
    ldr r8, [r6], #4
    subs r7, r7, #1
    add r8, r8, r12
    vld1.8 {q8}, [r8]
    vaddw.u8 q0, q0, d16
    vaddw.u8 q1, q1, d17
    bne 2b
    vdup.16 q9, r3
    vshl.u16 q0, q0, q9
    vshl.u16 q1, q1, q9
3:
    cmp r2, #0
    beq 4f
    vmov.i16 q2, #0
    vmov.i16 q3, #0
    mov r6, r2
    portraitd_armv7_edge
    portraitd_armv7_edge
    ldm r6, {r7, r8}
    vdup.16 q8, r7
    vdup.16 q9, r8
    vadd.i16 q2, q2, q8
    vadd.i16 q3, q3, q8
    vshl.u16 q2, q2, q9
    vshl.u16 q3, q3, q9
    vadd.i16 q0, q0, q2
    vadd.i16 q1, q1, q3
4:
    cmp r10, #0
    beq 5f
    vld1.16 {q8, q9}, [r4]
    vadd.i16 q0, q0, q8
    vadd.i16 q1, q1, q9
5:
    vst1.16 {q0, q1}, [r4]!
    add r12, r12, #16
    subs r5, r5, #1
    bne 1b
    pop {r4-r11, pc}

@ One channel of four pixels in \to, from the components in q0 to q2 and the numbers in \ab (two
@ weights), \co (a weight, the offset) and \gs (gain and shift). q14 and q15 are 0 and 255.
.macro portraitd_armv7_channel to, ab, co, gs
    vmul.f32 \to, q0, \ab[0]
    vmul.f32 q11, q1, \ab[1]
    vmul.f32 q12, q2, \co[0]
    vdup.32 q13, \co[1]
    vadd.f32 \to, \to, q11
    vadd.f32 \to, \to, q12
    vadd.f32 \to, \to, q13
    vmax.f32 \to, \to, q14
    vmin.f32 \to, \to, q15
    vdup.32 q13, \gs[1]
    vmul.f32 \to, \to, \gs[0]
    vadd.f32 \to, \to, q13
.endm

@ void portraitd_neon_convert(components, conversions, out, fours): three channels of pixels, one
@ pixel after the other. r0: the addresses of three rows of f32, r1: for each channel three weights,
@ an offset, a gain and a shift.
    .globl portraitd_neon_convert
    .hidden portraitd_neon_convert
    .type portraitd_neon_convert, %function
portraitd_neon_convert:
    push {r4-r6, lr}
    vpush {d8-d15}
    ldm r0, {r4-r6}
    vldm r1, {d7-d15}
    movw r0, #0
    movt r0, #0x437f        @ 255
    vdup.32 q15, r0
    vmov.i32 q14, #0
1:
    vld1.32 {q0}, [r4]!
    vld1.32 {q1}, [r5]!
    vld1.32 {q2}, [r6]!
    portraitd_armv7_channel q8, d7, d8, d9
    portraitd_armv7_channel q9, d10, d11, d12
    portraitd_armv7_channel q10, d13, d14, d15
    vst3.32 {d16, d18, d20}, [r2]!
    vst3.32 {d17, d19, d21}, [r2]!
    subs r3, r3, #1
    bne 1b
    vpop {d8-d15}
    pop {r4-r6, pc}

@ void portraitd_neon_convert_one(components, conversion, out, fours): one channel of pixels, in the
@ same way.
    .globl portraitd_neon_convert_one
    .hidden portraitd_neon_convert_one
    .type portraitd_neon_convert_one, %function
portraitd_neon_convert_one:
    push {r4-r6, lr}
    vpush {d8-d9}
    ldm r0, {r4-r6}
    vldm r1, {d7-d9}
    movw r0, #0
    movt r0, #0x437f        @ 255
    vdup.32 q15, r0
    vmov.i32 q14, #0
1:
    vld1.32 {q0}, [r4]!
    vld1.32 {q1}, [r5]!
    vld1.32 {q2}, [r6]!
    portraitd_armv7_channel q8, d7, d8, d9
    vst1.32 {q8}, [r2]!
    subs r3, r3, #1
    bne 1b
    vpop {d8-d9}
    pop {r4-r6, pc}

@ void portraitd_neon_scale(row, weight, out, eights): f32 times the weight (its bits), rounded to
@ bytes.
    .globl portraitd_neon_scale
    .hidden portraitd_neon_scale
    .type portraitd_neon_scale, %function
portraitd_neon_scale:
    vdup.32 q15, r1
    vmov.f32 q14, #0.5
1:
    vld1.32 {q0, q1}, [r0]!
    vmul.f32 q0, q0, q15
    vmul.f32 q1, q1, q15
    vadd.f32 q0, q0, q14
    vadd.f32 q1, q1, q14
    vcvt.u32.f32 q0, q0
    vcvt.u32.f32 q1, q1
    vqmovn.u32 d0, q0
    vqmovn.u32 d1, q1
    vqmovn.u16 d0, q0
    vst1.8 {d0}, [r2]!
    subs r3, r3, #1
    bne 1b
    bx lr

    .purgem portraitd_armv7_edge
    .purgem portraitd_armv7_channel
