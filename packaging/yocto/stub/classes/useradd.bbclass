# As openembedded-core's: the class refuses a recipe that names no package, user or group.
python () {
    packages = (d.getVar("USERADD_PACKAGES") or "").split()
    if not packages:
        bb.fatal("%s inherits useradd and has no USERADD_PACKAGES" % d.getVar("FILE"))
    for package in packages:
        if not any(d.getVar("%s_PARAM:%s" % (what, package)) for what in ("USERADD", "GROUPADD", "GROUPMEMS")):
            bb.fatal("%s makes no user or group for %s" % (d.getVar("FILE"), package))
}
