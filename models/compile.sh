#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compiles a detector and the embedder for the Edge TPU, both in one call, and makes a models folder of them.
set -euo pipefail

# What the compiler's maker publishes is the package; these SHA-256 stand in its own file names, and in nixpkgs.
declare -A PACKAGES=(
    [ce03822053c2bddbb8640eaa988396ae66f9bc6b9d6d671914acd1727c2b445a]="edgetpu-compiler 15.0, amd64"
    [ef6eef29200270dcb941d2c1defa39c7d80e9c6f30cf7ced1c653a30bde0a502]="edgetpu-compiler 14.1, amd64"
)
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
detector=yunet-320x256 embedder=sface models=$HERE out="" package="" compiler="" sha256="" partial=no

usage() {
    cat << 'END'
models/compile.sh --out DIR (--package FILE.deb | [--compiler FILE] --sha256 HEX) [options]

Makes DIR, a models folder in which the first variant of both models is compiled for the Edge TPU. On the device name it
in `models.folder`, and set `inference.delegate: edgetpu`. It takes an x86-64 Linux, and no Edge TPU.

  --out DIR          the folder to make; it must not exist
  --package FILE     Google's Debian package edgetpu-compiler; it is unpacked, not installed. The SHA-256 of 15.0 and
                     14.1 are known; for another version give --sha256
  --compiler FILE    a compiler that is installed (default: edgetpu_compiler from the PATH); needs --sha256. Google's
                     package installs a script under this name, and a hash says nothing of what it starts: better
                     --package
  --sha256 HEX       what FILE must be. For edgetpu_compiler 16.0 no SHA-256 of its maker's is known to us: take it
                     from `sha256sum` once you trust the file, and keep it
  --detector NAME    default: yunet-320x256; the other is yunet-640x480
  --models DIR       where the models come from (default: the folder of this script)
  --allow-partial    also take a model of which some operators stay on the CPU: slower, and it says which

Both models are compiled in one call, because they share the Edge TPU's 8 MB of memory: compiled apart, each would
throw the other one's parameters out at every turn. The detector comes first, so that it is the embedder, which is
larger than the memory, whose parameters are streamed.

Exit codes: 0 done, 1 the compiler failed or left operators to the CPU, 2 wrong use.
END
}

wrong() { echo "models/compile.sh: $1" >&2; echo "  hint: ${2:-models/compile.sh --help}" >&2; exit 2; }
failed() { echo "models/compile.sh: $1" >&2; echo "  hint: $2" >&2; exit 1; }

while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --allow-partial) partial=yes; shift; continue ;;
        --out | --package | --compiler | --sha256 | --detector | --models) ;;
        *) wrong "$1: no such option" ;;
    esac
    [ $# -ge 2 ] || wrong "$1: expected a value"
    case $1 in
        --out) out=$2 ;;
        --package) package=$2 ;;
        --compiler) compiler=$2 ;;
        --sha256) sha256=${2,,} ;;
        --detector) detector=$2 ;;
        --models) models=$2 ;;
    esac
    shift 2
done
[ -n "$out" ] || wrong "--out: expected the folder to make"
[ ! -e "$out" ] || wrong "--out $out: it exists" "name another folder, or remove this one first"
[ -z "$package" ] || [ -z "$compiler" ] || wrong "--package and --compiler: one of the two"
[[ -z $sha256 || $sha256 =~ ^[0-9a-f]{64}$ ]] || wrong "--sha256: expected 64 hexadecimal digits"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# the_file FILE: its SHA-256 must be the one that was given or, of a package, one that is known.
the_file() {
    [ -f "$1" ] || wrong "$1: no such file"
    local found
    found=$(sha256sum < "$1" | cut -d' ' -f1)
    if [ -n "$sha256" ]; then
        [ "$found" = "$sha256" ] || wrong "$1: its SHA-256 is $found, expected $sha256" "fetch it again; do not run it"
    elif [ -n "$package" ]; then
        [ -n "${PACKAGES[$found]:-}" ] || wrong "$1: its SHA-256 is $found, of no package that is known" \
            "if you trust it: --sha256 $found"
        echo "package   ${PACKAGES[$found]}"
    else
        wrong "$1: no SHA-256 of an installed compiler is known" "if you trust it: --sha256 $found"
    fi
}

if [ -n "$package" ]; then
    the_file "$package"
    command -v dpkg-deb > /dev/null || wrong "dpkg-deb is missing" "apt install dpkg, or give --compiler"
    dpkg-deb -x "$package" "$work/package" || wrong "$package: not a Debian package"
    compiler=$work/package/usr/bin/edgetpu_compiler
    [ -x "$compiler" ] || wrong "$package: no usr/bin/edgetpu_compiler in it"
else
    [ -n "$compiler" ] || compiler=$(command -v edgetpu_compiler) ||
        wrong "edgetpu_compiler is not on the PATH" "give --package or --compiler"
    the_file "$compiler"
    compiler=$(realpath "$compiler")
fi

# value FILE VARIANT KEY: a line of that variant in a manifest.
value() {
    awk -v variant="$2" -v key="$3" '
        /^\[\[variant\]\]$/ { mine = 0; next }
        $1 == "name" && $2 == "=" { mine = ($3 == "\"" variant "\"") }
        mine && $1 == key && $2 == "=" { sub(/^[^=]*= /, ""); gsub(/^"|"$/, ""); print; exit }' "$1"
}

sources=()
for name in "$detector" "$embedder"; do
    manifest=$models/$name/model.toml
    [ -f "$manifest" ] || wrong "$manifest: no such model"
    file=$models/$name/$(value "$manifest" int8 file)
    [ -f "$file" ] || wrong "$manifest: no variant int8, or its file is missing"
    [ "$(sha256sum < "$file" | cut -d' ' -f1)" = "$(value "$manifest" int8 sha256)" ] ||
        wrong "$file: not the file of the manifest" "install the models again"
    sources+=("$file")
done

mkdir "$work/compiled"
echo "compiler  $("$compiler" --version 2>&1 | head -n 1)"
status=0
"$compiler" -s -o "$work/compiled" "${sources[@]}" > "$work/said" 2>&1 || status=$?
tried="it said: $(tail -n 3 "$work/said" | tr '\n' ' ')"
[ "$status" = 0 ] || failed "the compiler ended with $status" "$tried"
version=$(sed -n 's/^Edge TPU Compiler version \([0-9.]*\).*/\1/p' "$work/said" | head -n 1)
[ -n "$version" ] || failed "the compiler did not say its version" "$tried"

# said_of MODEL "Line's beginning": what was printed after it, in the part about that model.
said_of() {
    awk -v model="$1" -v line="$2: " '
        /^Input model: / { n = split($0, part, /[ \/]/); mine = (part[n] == model) }
        mine && index($0, line) == 1 { print substr($0, length(line) + 1); exit }' "$work/said"
}

# Counts in the table of a log: "OPERATOR  COUNT  STATUS". Prints "mapped other", then the other rows.
table() {
    awk '
        /^Operator +Count +Status/ { table = 1; next }
        table && $2 ~ /^[0-9]+$/ {
            status = $0; sub(/^[^ ]+ +[0-9]+ +/, "", status)
            if (status == "Mapped to Edge TPU") mapped += $2
            else { other += $2; rows = rows sprintf("\n  %s x %d: %s", $1, $2, status) }
        }
        END { printf "%d %d%s\n", mapped, other, rows }' "$1"
}

complete=yes
for source in "${sources[@]}"; do
    base=$(basename "$source" .tflite)
    log=$work/compiled/${base}_edgetpu.log made=$work/compiled/${base}_edgetpu.tflite
    [ -s "$made" ] || failed "$base: the compiler made no file" "$tried"
    [ -f "$log" ] || failed "$base: the compiler wrote no log" "$tried"
    { read -r mapped other; rows=$(cat); } < <(table "$log")
    [ "$((mapped + other))" -gt 0 ] || failed "$base: its log has no table of operators, or ends before it" "see $tried"
    total=$(said_of "$base.tflite" "Total number of operations")
    [ -n "$total" ] || failed "$base: the compiler did not say how many operations there are" "$tried"
    [ "$((mapped + other))" = "$total" ] ||
        failed "$base: its log counts $((mapped + other)) operations, the compiler $total: cut off?" "compile it again"
    subgraphs=$(said_of "$base.tflite" "Number of Edge TPU subgraphs")
    echo "$base"
    echo "  operators   $mapped on the Edge TPU in ${subgraphs:-?} part(s), $other on the CPU"
    echo "  memory      $(said_of "$base.tflite" "On-chip memory used for caching model parameters") on the chip," \
        "$(said_of "$base.tflite" "Off-chip memory used for streaming uncached model parameters") streamed"
    if [ "$other" -gt 0 ] || [ "$mapped" = 0 ]; then
        complete=no
        echo "$rows" | sed '/^$/d; s/^/  /'
    fi
done
[ "$complete" = yes ] || [ "$partial" = yes ] ||
    failed "some operators would stay on the CPU" "--allow-partial takes it all the same; it is slower, and was never measured"

# A manifest with the compiled variant before all others: the int8 one's, with what is different about it.
with_compiled() {
    awk -v file="$2" -v sha="$3" -v bytes="$4" -v version="$5" '
        function flush() {
            if (block == "") return
            if (block ~ /\nname = "int8"\n/) {
                made = block
                sub(/\nname = "[^"]*"/, "\nname = \"edgetpu\"", made)
                sub(/\nfile = "[^"]*"/, "\nfile = \"" file "\"", made)
                sub(/\nsha256 = "[^"]*"/, "\nsha256 = \"" sha "\"", made)
                sub(/\nbytes = [0-9]+/, "\nbytes = " bytes, made)
                sub(/\ndelegates = \[[^]]*\]/, "\ndelegates = [\"edgetpu\"]", made)
                sub(/\nquantisation = "/, "&compiled by Edge TPU Compiler " version "; ", made)
                sub(/\n*$/, "\n\n", made)
            }
            blocks = blocks block; block = ""
        }
        /^\[\[variant\]\]$/ { flush(); started = 1 }
        !started { sub(/^# Written by models\/build.*/, "# Written by models/compile.sh from the manifest of models/build."); print; next }
        { block = block $0 "\n" }
        END { flush(); printf "%s%s", made, blocks }' "$1"
}

mkdir -p "$work/out"
for name in "$detector" "$embedder"; do
    cp -r "$models/$name" "$work/out/$name"
    base=$(basename "$(value "$models/$name/model.toml" int8 file)" .tflite)
    cp "$work/compiled/${base}_edgetpu.tflite" "$work/compiled/${base}_edgetpu.log" "$work/out/$name/"
    made=$work/out/$name/${base}_edgetpu.tflite
    sha=$(sha256sum < "$made" | cut -d' ' -f1)
    with_compiled "$models/$name/model.toml" "$(basename "$made")" "$sha" "$(stat -c %s "$made")" "$version" \
        > "$work/out/$name/model.toml"
    echo "$name: variant edgetpu, $(basename "$made"), sha256 $sha"
done
for each in edgetpu_ops.toml README.md; do
    [ ! -f "$models/$each" ] || cp "$models/$each" "$work/out/"
done
mkdir -p "$(dirname "$out")"
mv "$work/out" "$out"
chmod -R u=rwX,go=rX "$out"
echo "written to $out; check it: porter models --folder $out"
