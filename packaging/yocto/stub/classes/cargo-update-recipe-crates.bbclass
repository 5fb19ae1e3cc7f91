# The task alone: `packaging/yocto/crates` writes the same list without bitbake.
addtask do_update_crates after do_patch
CARGO_LOCK_SRC_DIR ??= "${S}"
do_update_crates() {
    :
}
