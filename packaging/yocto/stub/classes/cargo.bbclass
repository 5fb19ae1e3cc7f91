# The variables and tasks of openembedded-core's cargo.bbclass that the recipe reads or changes.
B = "${WORKDIR}/build"
CARGO_MANIFEST_PATH ??= "${S}/Cargo.toml"
BUILD_MODE = "--release"
CARGO_BUILD_FLAGS = "-v --frozen --target ${RUST_HOST_SYS} ${BUILD_MODE} --manifest-path=${CARGO_MANIFEST_PATH}"
BUILD_DIR = "release"
CARGO_TARGET_SUBDIR = "${RUST_HOST_SYS}/${BUILD_DIR}"
cargo_do_configure() {
    :
}
cargo_do_compile() {
    cargo build ${CARGO_BUILD_FLAGS}
}
cargo_do_install() {
    :
}
EXPORT_FUNCTIONS do_configure do_compile do_install
