################################################################################
#
# pocketsphinx
#
################################################################################

POCKETSPHINX_VERSION = 5.1.1
POCKETSPHINX_SITE = $(call github,cmusphinx,pocketsphinx,v$(POCKETSPHINX_VERSION))
POCKETSPHINX_LICENSE = BSD-2-Clause, BSD-3-Clause (WebRTC), MIT (yin, jsmn)
POCKETSPHINX_LICENSE_FILES = LICENSE
POCKETSPHINX_INSTALL_STAGING = YES
POCKETSPHINX_SUPPORTS_IN_SOURCE_BUILD = NO
POCKETSPHINX_BUILD_OPTS = --target pocketsphinx
# -Os makes it 16 % slower than this on a C906, as predicted.
POCKETSPHINX_CONF_OPTS = -DCMAKE_C_FLAGS="$(TARGET_CFLAGS) -O3"

# For other packages, which take what a board needs of it.
POCKETSPHINX_MODEL = usr/share/pocketsphinx/model/en-us
POCKETSPHINX_MODEL_FILES = \
	cmudict-en-us.dict \
	en-us/feat.params \
	en-us/mdef \
	en-us/means \
	en-us/noisedict \
	en-us/sendump \
	en-us/transition_matrices \
	en-us/variances

define POCKETSPHINX_INSTALL_STAGING_CMDS
	cp -dpf $(@D)/buildroot-build/libpocketsphinx.so* $(STAGING_DIR)/usr/lib/
	cp -rpf $(@D)/include/* $(@D)/buildroot-build/include/* $(STAGING_DIR)/usr/include/
	$(foreach file,$(POCKETSPHINX_MODEL_FILES), \
		$(INSTALL) -D -m 0644 $(@D)/model/en-us/$(file) \
			$(STAGING_DIR)/$(POCKETSPHINX_MODEL)/$(file)$(sep))
endef

define POCKETSPHINX_INSTALL_TARGET_CMDS
	cp -dpf $(@D)/buildroot-build/libpocketsphinx.so* $(TARGET_DIR)/usr/lib/
endef

$(eval $(cmake-package))
