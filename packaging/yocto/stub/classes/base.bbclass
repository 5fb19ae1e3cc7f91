# As openembedded-core's base.bbclass, for the parse alone: the tasks that the recipe hooks into, and the skip by host.
addtask do_fetch
addtask do_unpack after do_fetch
addtask do_patch after do_unpack
addtask do_configure after do_patch
addtask do_compile after do_configure
addtask do_install after do_compile
addtask do_build after do_install
do_fetch() {
    :
}
do_unpack() {
    :
}
do_patch() {
    :
}
do_build() {
    :
}

python () {
    import re
    host = d.getVar("COMPATIBLE_HOST")
    if host and not re.match(host, d.getVar("HOST_SYS")):
        raise bb.parse.SkipRecipe("not for %s" % d.getVar("HOST_SYS"))
}
