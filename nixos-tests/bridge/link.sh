# One stub: links to the files of Debian's packages, file by file, in each output that programs look into.
# shellcheck disable=SC2154 # `outputs` and `debian` come from the derivation
export PATH=/usr/bin
for output in $outputs; do
  target=${!output}
  mkdir -p "$target"
  case $output in dev | devdoc | doc | info | man | debug) continue ;; esac
  for package in $debian; do
    dpkg-query --listfiles "$package" 2>/dev/null || true
  done | sed -nE 's,^/(usr/)?((s?bin|lib|libexec|share)/.*),\2,p' | while read -r file; do
    from=/usr/$file
    [[ -e $from && ! -d $from ]] || continue
    case $file in
    sbin/*) to=bin/${file#sbin/} ;;
    lib/postgresql/*/bin/*) to=bin/${file##*/} ;;
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
