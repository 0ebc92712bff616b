#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Writes the module that a design instantiates as its UltraScale+ PCIe block: the name and the ports
# of the IP, and accelerator_pcie4 in it.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
  cat <<'HELP'
usage: scripts/build-pcie-block.sh NAME --width BITS [option...]

Writes NAME.sv, which takes the place of the IP called NAME (PCIE4 or PCIE4C, PG213) in a file
list: the same module name, the same ports, and behind them QEMU.

  NAME               of the IP, as the design instantiates it: pcie4_uscale_plus_0
  --width BITS       of its streams: 64, 128, 256 or 512
  --straddle LIST    streams with more than one TLP in a beat, of cq, cc, rq, rc2 and rc4,
                     with commas between them; 512 bits, and rc2 also with 256
  --lanes N          of the link: 1, 2, 4, 8 or 16 (default 8)
  --internal-tags    the block has the tags of reads (the IP without "Enable Client Tag")
  --flr              the function has FLR, which RTL answers on cfg_flr_done
  --parity           parity in tuser
  -G NAME=VALUE      sets a parameter of accelerator_pcie4: ids, BARs, MSI-X and MSI
                     (hdl/README.md); may be given more than once
  --out FILE         where it goes, - for standard output (default NAME.sv)
HELP
}

name='' width='' straddle='' lanes=8 out='' parameters=() command=()
while (($#)); do
  [[ $1 == --out ]] || command+=("$1")
  case $1 in
    -h | --help)
      usage
      exit 0
      ;;
    --internal-tags) parameters+=("EnableClientTag=1'b0") ;;
    --flr) parameters+=("EnableFlr=1'b1") ;;
    --parity) parameters+=("Parity=1'b1") ;;
    --width | --straddle | --lanes | --out | -G)
      (($# >= 2)) || die "$1 needs a value; see --help"
      [[ $1 == --out ]] || command+=("$2")
      case $1 in
        --width) width=$2 ;;
        --straddle) straddle=$2 ;;
        --lanes) lanes=$2 ;;
        --out) out=$2 ;;
        -G)
          [[ $2 =~ ^[A-Za-z][A-Za-z0-9]*=.+$ ]] || die "-G $2: expected NAME=VALUE"
          parameters+=("$2")
          ;;
      esac
      shift
      ;;
    -*) die "unknown option '$1'; see --help" ;;
    *)
      [[ -z $name ]] || die "two names given: '$name' and '$1'"
      name=$1
      ;;
  esac
  shift
done
[[ $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] ||
  die "'$name' is not the name of a module; see --help"
case $width in
  64 | 128 | 256) user=(88 33 62 75) ;;
  512) user=(183 81 137 161) ;;
  *) die "--width is '$width', expected 64, 128, 256 or 512" ;;
esac
case $lanes in
  1 | 2 | 4 | 8 | 16) ;;
  *) die "--lanes is '$lanes', expected 1, 2, 4, 8 or 16" ;;
esac
IFS=, read -r -a streams <<<"$straddle"
for stream in "${streams[@]}"; do
  case $stream in
    cq | cc | rq)
      ((width == 512)) || die "--straddle $stream needs 512 bits"
      parameters+=("${stream^}Straddle=1'b1")
      ;;
    rc2)
      ((width >= 256)) || die "--straddle rc2 needs 256 or 512 bits"
      parameters+=(RcStraddle=2)
      ;;
    rc4)
      ((width == 512)) || die "--straddle rc4 needs 512 bits"
      parameters+=(RcStraddle=4)
      ;;
    *) die "--straddle has '$stream', expected cq, cc, rq, rc2 or rc4" ;;
  esac
done
block=$REPO_DIR/hdl/rtl/accelerator_pcie4.sv
for parameter in "${parameters[@]}"; do
  grep -qE "^  parameter .* ${parameter%%=*} +=" "$block" ||
    die "accelerator_pcie4 has no parameter ${parameter%%=*}"
done

# The ports of the block, with numbers for the widths.
ports() {
  sed -n '/^) ($/,/^);$/p' "$block" | sed -nE \
    -e "s/DataWidth-1/$((width - 1))/; s/KeepWidth-1/$((width / 32 - 1))/; s/PlLinks-1/$((lanes - 1))/" \
    -e "s/CqUserWidth-1/$((user[0] - 1))/; s/CcUserWidth-1/$((user[1] - 1))/" \
    -e "s/RqUserWidth-1/$((user[2] - 1))/; s/RcUserWidth-1/$((user[3] - 1))/" \
    -e 's/^  (input |output) +logic +(\[[0-9]+:0\])? *([a-z0-9_]+)(,?)$/\1 \2 \3\4/p' |
    while read -r direction second third; do
      [[ -n $third ]] || third=$second second=''
      printf '  %-6s logic %-8s %s\n' "$direction" "$second" "$third"
    done
}

write() {
  printf '%s\n' '// SPDX-License-Identifier: Apache-2.0' '//' \
    "// The IP $name in a simulation with QEMU. Written by: scripts/build-pcie-block.sh"
  fold -s -w 90 <<<"${command[*]}" | sed 's#^#//   #; s# *$##'
  printf '%s\n' '' "module $name (" '  // Many designs leave some of them open.' \
    '  /* verilator lint_off UNUSEDSIGNAL */'
  ports
  printf '%s\n' '  /* verilator lint_on UNUSEDSIGNAL */' ');' '' '  accelerator_pcie4 #('
  local all=("Name=\"$name\"" "DataWidth=$width" "LinkWidth=$lanes" "PlLinks=$lanes"
    "${parameters[@]}") i end=,
  for i in "${!all[@]}"; do
    ((i + 1 < ${#all[@]})) || end=''
    printf '    .%s(%s)%s\n' "${all[i]%%=*}" "${all[i]#*=}" "$end"
  done
  printf '%s\n' '  ) inst (' '    .*' '  );' '' 'endmodule'
}

out=${out:-$name.sv}
if [[ $out == - ]]; then
  write
else
  write >"$out"
  say "wrote $out; your file list has it in place of the IP's files, and -F $REPO_DIR/hdl/bridge.f"
fi
