# One stub: links to the files of Debian's packages, file by file, in each output that programs look into.
# shellcheck disable=SC2154 # `name`, `outputs` and `debian` come from the derivation
export PATH=/usr/bin
files=
for package in $debian; do
  if ! files+=$(dpkg-query --listfiles "$package")$'\n'; then
    echo "$name: the bridge's image has no package $package of Debian's: install it (Containerfile), or say in debian.nix which one stands for it, or that none does" >&2
    exit 1
  fi
done
for output in $outputs; do
  target=${!output}
  mkdir -p "$target"
  case $output in dev | devdoc | doc | info | man | debug) continue ;; esac
  sed -nE 's,^/(usr/)?((s?bin|lib|libexec|share)/.*),\2,p' <<<"$files" | while read -r file; do
    from=/usr/$file
    [[ -e $from && ! -d $from ]] || continue
    case $file in
    sbin/*) to=bin/${file#sbin/} ;;
    lib/postgresql/*/bin/*) to=bin/${file##*/} ;;
    lib/*/security/*) to=lib/security/${file##*/} ;;
    lib/systemd/system/* | lib/systemd/user/* | lib/sysctl.d/* | lib/sysusers.d/* | lib/tmpfiles.d/*)
      to=$file
      # Where NixOS picks those of systemd itself that it wants.
      [[ $debian != *systemd-sysv* ]] || to=example/${file#lib/}
      ;;
    share/doc/* | share/man/* | share/locale/*) continue ;;
    *) to=$file ;;
    esac
    mkdir -p "$target/$(dirname "$to")"
    case $to in
    # Copied: Debian's own folders of them are empty when the appliance runs.
    example/* | lib/systemd/*/* | lib/*.d/*) cp -d "$from" "$target/$to" ;;
    *) ln -sfn "$from" "$target/$to" ;;
    esac
  done
done
