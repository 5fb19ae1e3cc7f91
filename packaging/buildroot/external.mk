include $(sort $(wildcard $(BR2_EXTERNAL_PORTRAITD_PATH)/package/*/*.mk))
