# Background processes: spawn, find, wait for health, stop. Sourced by stack.sh.
# A pid file holds "pid start-time": a number that the kernel has since given to another process is not ours.
# shellcheck shell=bash

start_time() { [ -r "/proc/$1/stat" ] && sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# pid_of NAME: its pid, or nothing (and failure) when it does not run.
pid_of() {
  local pid born
  read -r pid born 2>/dev/null <"$PID_DIR/$1" || return 1
  [ "$(start_time "$pid")" = "$born" ] && ! grep -q '^State:.[ZX]' "/proc/$pid/status" 2>/dev/null || return 1
  echo "$pid"
}

# spawn NAME COMMAND…: in a session of its own, so that Ctrl-C at the terminal reaches only the script,
# which then stops everything in order. The log of the run before is kept as NAME.log.1.
spawn() {
  local name=$1 log=$LOG_DIR/$1.log pid
  shift
  mkdir -p "$LOG_DIR" "$PID_DIR"
  [ -f "$log" ] && mv -f "$log" "$log.1"
  # Descriptor 9 is the lock of stack.sh: a daemon must not inherit it.
  setsid "$@" >"$log" 2>&1 </dev/null 9>&- &
  pid=$!
  echo "$pid $(start_time "$pid")" >"$PID_DIR/$name"
  disown "$pid"
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# require_free NAME PORT VARIABLE: the clear word when something else has the port.
require_free() {
  local name=$1 port=$2 variable=$3 owner=
  port_open "$port" || return 0
  command -v ss >/dev/null && owner=$(ss -ltnpH "sport = :$port" 2>/dev/null | grep -o '(("[^"]*",pid=[0-9]*' | head -n 1 | sed 's/(("\(.*\)",pid=/\1, pid /')
  die "$name cannot start: port $port is taken by ${owner:-a process this user may not see}." \
    "Stop it, or choose another port with $variable=…"
}

# wait_healthy NAME CHECK: waits at most START_SECONDS with one progress line; a process that died ends the wait.
wait_healthy() {
  local name=$1 check=$2 started=$SECONDS why=
  while ! "$check"; do
    if ! pid_of "$name" >/dev/null; then why="stopped by itself"; break; fi
    if ((SECONDS - started >= START_SECONDS)); then why="is not healthy after $START_SECONDS s (START_SECONDS)"; break; fi
    [ -t 1 ] && printf '\r%-12s starting, %d s ' "$name" $((SECONDS - started))
    sleep 0.3
  done
  [ -t 1 ] && printf '\r\033[K'
  if [ -n "$why" ]; then
    warn "--- the end of $LOG_DIR/$name.log"
    tail -n 25 "$LOG_DIR/$name.log" >&2
    die "$name $why"
  fi
  printf '%-12s healthy after %d s (pid %s)\n' "$name" $((SECONDS - started)) "$(pid_of "$name")"
}

# ask_to_stop NAME SIGNAL: sends it; wait_stopped then waits, so that several can stop side by side.
ask_to_stop() {
  local pid
  pid=$(pid_of "$1") || return 0
  kill -s "$2" "$pid" 2>/dev/null || true
}

wait_stopped() {
  local name=$1 pid started=$SECONDS
  [ -f "$PID_DIR/$name" ] || return 0
  pid=$(pid_of "$name") || true
  while pid_of "$name" >/dev/null; do
    if ((SECONDS - started >= STOP_SECONDS)); then
      warn "$name did not stop within $STOP_SECONDS s (STOP_SECONDS): killed"
      # The whole session: a killed parent must not leave children behind.
      kill -s KILL -- "-$pid" 2>/dev/null || kill -s KILL "$pid" 2>/dev/null || true
      sleep 0.5
      break
    fi
    sleep 0.2
  done
  rm -f "$PID_DIR/$name"
  printf '%-12s stopped\n' "$name"
}
