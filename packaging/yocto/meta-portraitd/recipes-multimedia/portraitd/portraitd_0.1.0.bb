SUMMARY = "A camera as a service: person masks and person-centred views"
DESCRIPTION = "Captures V4L2 frames, segments the people in them, and publishes masks, \
person-centred views and composites to many programs over D-Bus and shared memory."
HOMEPAGE = "https://github.com/portraitd/portraitd"
BUGTRACKER = "https://github.com/portraitd/portraitd/issues"
SECTION = "multimedia"
CVE_PRODUCT = "portraitd"
# The programs are MIT or Apache-2.0, at the user's choice. The models are Apache-2.0.
LICENSE = "(MIT | Apache-2.0) & Apache-2.0"
LIC_FILES_CHKSUM = "\
    file://LICENSE-APACHE;md5=3b83ef96387f14655fc854ddc3c6bd57 \
    file://LICENSE-MIT;md5=37418a145025ab390c48ab734f988c00 \
    file://NOTICE;md5=bd97fa3bd7188a5780f118c856f6886e \
"

SRC_URI = "git://github.com/portraitd/portraitd.git;protocol=https;branch=main"
# `packaging/update REVISION` writes the version, this line, the sums above and the crates.
SRCREV = "f59529aa885ffd6e08b129458ccdb063642aae58"

inherit cargo cargo-update-recipe-crates features_check systemd useradd
require ${BPN}-crates.inc

# The unit, and /usr as the only prefix: systemd/install has no other.
REQUIRED_DISTRO_FEATURES = "systemd usrmerge"

# Two programs of the workspace. The laboratory would bring dozens of crates more.
CARGO_BUILD_FLAGS:append = " --bins --package portraitd --package portraitctl"
# The profile of the other packages. Symbols are left to bitbake, which splits them off.
BUILD_MODE = "--profile dist"
BUILD_DIR = "dist"
export CARGO_PROFILE_DIST_STRIP = "none"

# The source has more lock files, of test programs that a package never needs. The class reads
# every one that it finds, so it gets a folder with only one.
CARGO_LOCK_SRC_DIR = "${WORKDIR}/lock"
do_update_crates:prepend() {
    install -D -m 644 ${S}/Cargo.lock ${CARGO_LOCK_SRC_DIR}/Cargo.lock
}

# The list of installed files has one place, which the Debian package and Buildroot use too.
do_install() {
    sh ${S}/systemd/install --bin ${B}/target/${CARGO_TARGET_SUBDIR} --root ${D}
}

FILES:${PN} += "\
    ${nonarch_libdir}/portraitd \
    ${nonarch_libdir}/sysusers.d \
    ${datadir}/bash-completion \
    ${datadir}/dbus-1 \
    ${datadir}/fish \
    ${datadir}/polkit-1 \
    ${datadir}/zsh \
"

SYSTEMD_SERVICE:${PN} = "portraitd.service"

# The same names as in systemd/sysusers.d/portraitd.conf, made in the image.
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system portraitd; --system portraitd-clients; --system portraitd-control; \
    --system portraitd-providers"
USERADD_PARAM:${PN} = "--system --no-create-home --home-dir / --shell /sbin/nologin --gid portraitd portraitd"

RDEPENDS:${PN} += "dbus systemd"
# Without polkit only root may attach.
RRECOMMENDS:${PN} += "polkit"

# armv5 and other processors without a port are not refused here: they are not tested.
COMPATIBLE_HOST = "(aarch64|arm|riscv64|x86_64).*-linux"
