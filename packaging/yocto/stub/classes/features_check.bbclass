# As openembedded-core's: a distribution without these features skips the recipe.
python () {
    missing = set((d.getVar("REQUIRED_DISTRO_FEATURES") or "").split()) - set((d.getVar("DISTRO_FEATURES") or "").split())
    if missing:
        raise bb.parse.SkipRecipe("missing distribution features: %s" % " ".join(sorted(missing)))
}
