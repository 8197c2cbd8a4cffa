# Debian's original source archive of a release: what the images' packages are built from.
{fetchurl}: {
  name,
  version,
  # Why Debian packed the archive anew: without what is not free (dfsg), or without what it does not need (ds).
  repack ? "dfsg",
  hash,
}:
fetchurl {
  url = "mirror://debian/pool/main/o/${name}/${name}_${version}+${repack}.orig.tar.xz";
  inherit hash;
}
