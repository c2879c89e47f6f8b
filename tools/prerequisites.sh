#!/bin/sh
# Names what this machine lacks to build lkpy, with the command that installs it.
# Usage: tools/prerequisites.sh PYTHON
set -u
python=${1:-python3}
missing=0

say() {
    missing=1
    printf 'lkpy: %s\n  hint: %s\n' "$1" "$2" >&2
}

package_hint() {
    # $1 Debian and Ubuntu, $2 Fedora, $3 Homebrew
    if command -v apt-get >/dev/null 2>&1; then echo "sudo apt-get install -y $1"
    elif command -v dnf >/dev/null 2>&1; then echo "sudo dnf install -y $2"
    elif command -v brew >/dev/null 2>&1; then echo "brew install $3"
    else echo "install $1 with your system's package manager"
    fi
}

if ! command -v "$python" >/dev/null 2>&1; then
    say "no '$python' found; Python 3.11 or later is needed" \
        "$(package_hint 'python3 python3-venv' python3 python@3.12)"
elif ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    say "$("$python" --version 2>&1) is too old; Python 3.11 or later is needed" \
        "$(package_hint 'python3.11 python3.11-venv' python3.11 python@3.12), then: make PYTHON=python3.11 ..."
elif ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    say "'$python' cannot make virtual environments" "$(package_hint python3-venv python3 python@3.12)"
fi

if ! command -v cc >/dev/null 2>&1; then
    say "no C compiler 'cc' found; the cryptography of the engine is built with it" \
        "$(package_hint build-essential gcc gcc)"
fi

if ! command -v cargo >/dev/null 2>&1 || ! command -v rustc >/dev/null 2>&1; then
    say "no Rust toolchain found; the media engine is written in Rust (1.89 or later)" \
        "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
else
    version=$(rustc --version | sed 's/^rustc \([0-9]*\)\.\([0-9]*\).*/\1 \2/')
    set -- $version
    if [ "$1" -lt 1 ] || { [ "$1" -eq 1 ] && [ "$2" -lt 89 ]; }; then
        say "$(rustc --version) is too old; Rust 1.89 or later is needed" "rustup update stable"
    fi
fi

exit $missing
