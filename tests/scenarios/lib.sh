# shellcheck shell=bash
# What the scenarios share: a private network, processes with logs, checks that are counted.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
declare -A pids=()
passed=0 failed=0

# Runs the calling script again where loopback is private, ports 80 and 443 are free and no route leads out.
# Every process of the scenario ends with it.
enter_namespace() {
  [[ ${SCENARIO_NAMESPACE:-} == entered ]] && return
  : "${SNIGATE:?the path of the snigate binary}"
  SNIGATE=$(realpath -e "$SNIGATE")
  local user=()
  ((EUID == 0)) || user=(--map-root-user)
  exec env SNIGATE="$SNIGATE" SCENARIO_NAMESPACE=entered \
    unshare "${user[@]}" --net --mount --pid --fork --kill-child "$0" "$@"
}

# set_up NAME...: the working directory, loopback, and the names, all of them 127.0.0.1.
set_up() {
  work=$(mktemp -d "${TMPDIR:-/tmp}/snigate-scenario.XXXXXX")
  readonly work
  trap tear_down EXIT
  trap 'exit 143' TERM INT
  export HOME=$work XDG_DATA_HOME=$work/data XDG_CONFIG_HOME=$work/config
  unset SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY
  ip link set lo up
  printf '127.0.0.1 %s\n' localhost "$@" >"$work/hosts"
  mount --bind "$work/hosts" /etc/hosts
  cd "$work"
}

tear_down() {
  if ((${#pids[@]})); then kill -KILL "${pids[@]}" 2>/dev/null || true; fi
  wait 2>/dev/null
  cd /
  if [[ -n ${KEEP:-} ]]; then echo "kept: $work" >&2; else rm -rf "$work"; fi
}

need() {
  local tool missing=()
  for tool; do command -v "$tool" >/dev/null || missing+=("$tool"); done
  ((${#missing[@]} == 0)) || fail "not installed: ${missing[*]}"
}

fail() {
  echo "$*" >&2
  exit 1
}

# start NAME COMMAND...: in the background, with its output in NAME.log.
start() {
  local name=$1
  shift
  "$@" >"$work/$name.log" 2>&1 </dev/null &
  pids[$name]=$!
}

# wait_until SECONDS WHAT COMMAND...: polls the command, in a subshell, until it succeeds.
wait_until() {
  local deadline=$((SECONDS + $1)) what=$2 said
  shift 2
  until said=$("$@" 2>&1); do
    ((SECONDS < deadline)) || fail "waited in vain for $what: $said"
    sleep 0.05
  done
}

accepts_tcp() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# start_snigate NAME FILE [BINARY]: returns once it is ready.
start_snigate() {
  start "$1" "${3:-$SNIGATE}" run -c "$2"
  wait_until 10 "$1 is ready, or has ended" ready_or_ended "$1"
  is_ready "$1" || fail "$1 did not start: $(tail -n 5 "$work/$1.log")"
}

ready_or_ended() { is_ready "$1" || ! kill -0 "${pids[$1]}"; }
is_ready() { events "$1" | grep -qE '^INFO .*\bready\b'; }

# events NAME: the log of a snigate, one event to a line: LEVEL, message, fields. The one place that knows its format.
events() { python3 "$here/events.py" "$work/$1.log"; }
errors_of() { events "$1" | grep '^ERROR ' || true; }

# start_backend NAME PORT [ARGUMENTS]: see backend.py.
start_backend() {
  start "$1" python3 "$here/backend.py" "$@"
  wait_until 10 "$1 accepts connections" accepts_tcp "$2"
}

# check NAME COMMAND...: runs it with errexit in a subshell; what it prints is the detail of a failure.
check() {
  local name=$1 status
  shift
  set +e
  (
    set -e
    "$@"
  ) >"$work/check.log" 2>&1
  status=$?
  set -e
  if ((status == 0)); then
    passed=$((passed + 1))
    echo "ok $name"
  else
    failed=$((failed + 1))
    echo "FAILED $name: $(tail -n 8 "$work/check.log" | tr '\n' ' ')"
  fi
}

# The last line and the exit status.
finish() {
  echo "$passed ok, $failed failed"
  exit $((failed > 0))
}

# expect WHAT WANTED GOT
expect() { [[ $3 == "$2" ]] || fail "$1: expected '$2', got '$3'"; }

# alert ARGUMENTS of openssl s_client: the number of the alert that it got, or "none".
alert() {
  local output
  output=$(printf 'GET / HTTP/1.0\r\n\r\n' | timeout 10 openssl s_client -quiet "$@" 2>&1 || true)
  grep -oPm1 'SSL alert number \K[0-9]+' <<<"$output" || echo none
}

expect_alert() {
  local wanted=$1
  shift
  expect "alert for $*" "$wanted" "$(alert "$@")"
}

# leaf ARGUMENTS of openssl s_client: the certificate that the server shows.
leaf() { timeout 10 openssl s_client "$@" </dev/null 2>/dev/null | openssl x509; }

serial() { openssl x509 -noout -serial | cut -d= -f2; }
