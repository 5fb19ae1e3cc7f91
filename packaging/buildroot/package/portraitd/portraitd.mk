################################################################################
#
# portraitd
#
################################################################################

# A revision until the first release. packaging/update writes it.
PORTRAITD_VERSION = f59529aa885ffd6e08b129458ccdb063642aae58
PORTRAITD_SITE = $(call github,portraitd,portraitd,$(PORTRAITD_VERSION))
PORTRAITD_LICENSE = MIT or Apache-2.0 (programs), Apache-2.0 (models)
PORTRAITD_LICENSE_FILES = LICENSE-APACHE LICENSE-MIT NOTICE

# The archive holds the vendored crates, and its name holds the format that a release of Buildroot
# gives such archives: its hash is known only to the one who downloads it.
BR_NO_CHECK_HASH_FOR += $(PORTRAITD_SOURCE)

# Buildroot strips programs itself, or keeps their symbols where it is asked to.
PORTRAITD_CARGO_ENV = CARGO_PROFILE_DIST_STRIP=none

# As the infrastructure builds, but for the profile of the other packages (fat LTO, small code
# outside the hot loops), and two programs of the workspace only.
define PORTRAITD_BUILD_CMDS
	cd $(PORTRAITD_SRCDIR) && \
	$(TARGET_MAKE_ENV) \
		$(TARGET_CONFIGURE_OPTS) \
		$(PKG_CARGO_ENV) \
		$(PORTRAITD_CARGO_ENV) \
		cargo build \
			--offline \
			--locked \
			--manifest-path Cargo.toml \
			--profile dist \
			--bins \
			--package portraitd \
			--package portraitctl
endef

# One list of installed files for all packages; the unit is among them. Buildroot enables it with
# the other units when it finishes the image.
define PORTRAITD_INSTALL_TARGET_CMDS
	sh $(@D)/systemd/install \
		--bin $(@D)/target/$(RUSTC_TARGET_NAME)/dist \
		--root $(TARGET_DIR)
endef

# The same names as in systemd/sysusers.d/portraitd.conf.
define PORTRAITD_USERS
	portraitd -1 portraitd -1 * - - - portraitd camera service
	- - portraitd-clients -1 * - - - May attach to streams
	- - portraitd-control -1 * - - - May change settings
	- - portraitd-providers -1 * - - - May provide frames
endef

$(eval $(cargo-package))
