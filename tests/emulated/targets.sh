# What each emulated target needs. Source it, then call `target NAME`.
# shellcheck shell=bash disable=SC2034

# NAME: a Rust triple, Debian's name of an architecture (amd64, arm64, armhf), or aarch64, armv7, riscv64 (without vectors), riscv64v128, riscv64v256, riscv64v512 (RVV 1.0, by register length).
target() {
    case $1 in
        amd64 | x86_64-unknown-linux-gnu)
            TRIPLE=x86_64-unknown-linux-gnu GNU=x86_64-linux-gnu QEMU=qemu-x86_64 QEMU_DEFAULT_CPU=max LIBC=libc6-dev ;;
        arm64 | aarch64 | aarch64-unknown-linux-gnu)
            TRIPLE=aarch64-unknown-linux-gnu GNU=aarch64-linux-gnu QEMU=qemu-aarch64 QEMU_DEFAULT_CPU=cortex-a76
            LIBC=libc6-dev-arm64-cross ;;
        armhf | armv7 | armv7-unknown-linux-gnueabihf)
            TRIPLE=armv7-unknown-linux-gnueabihf GNU=arm-linux-gnueabihf QEMU=qemu-arm QEMU_DEFAULT_CPU=cortex-a15
            LIBC=libc6-dev-armhf-cross ;;
        riscv64 | riscv64gc-unknown-linux-gnu | riscv64v128 | riscv64v256 | riscv64v512)
            TRIPLE=riscv64gc-unknown-linux-gnu GNU=riscv64-linux-gnu QEMU=qemu-riscv64 QEMU_DEFAULT_CPU=rv64
            LIBC=libc6-dev-riscv64-cross
            case $1 in *v128 | *v256 | *v512) QEMU_DEFAULT_CPU="rv64,v=true,vext_spec=v1.0,vlen=${1##*v}" ;; esac ;;
        *) die "unknown target $1: aarch64, armv7, riscv64, riscv64v128, riscv64v256 or riscv64v512" ;;
    esac
    UNDERSCORED=${TRIPLE//-/_}
    UPPER=${UNDERSCORED^^}
}
