#!/usr/bin/env bash
# Apache Kafka 4.3.1 and StreamHouse in one run on this machine, with the same loads; one line `RESULT k=v …` per figure.
#   bench/run.sh                          the short run: about eight minutes after the build
#   bench/run.sh --full                   every combination of record, batch and codec, longer
#   BROKERS="streamhouse" TESTS="produce" bench/run.sh
# BROKERS  kafka (unsynced, its default), kafka-synced (flush.messages=1), streamhouse (synced, its default)
# TESTS    start idle produce java latency transactions consume rebalance groups commits compaction
# GROUPS_OF_TEN  how many groups the test groups forms, each number on a broker of its own (default "100 1000 10000")
# SKIP_BUILD=1 takes the release binaries as they are
# OUT      file that the figures are appended to (default $STREAMHOUSE_CACHE/bench/results.txt)
# Nothing else should run meanwhile. What the figures mean is in docs/benchmarks.md.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

full=
[ "${1:-}" = --full ] && full=1
: "${BROKERS:=kafka kafka-synced streamhouse}" "${TESTS:=start idle produce java latency transactions consume rebalance groups commits compaction}" "${GROUPS_OF_TEN:=100 1000 10000}"
: "${WORK:=$STREAMHOUSE_CACHE/bench}" "${OUT:=$WORK/results.txt}"
loads="100:16384:none 100:16384:lz4 100:131072:none 100:131072:lz4 1024:16384:none 1024:16384:lz4 1024:131072:none 1024:131072:lz4"
if [ -n "$full" ]; then
  seconds=15 java_mib=1024 fill_seconds=10
  java_loads=$loads
else
  seconds=4 java_mib=192 fill_seconds=4
  java_loads="100:16384:none 1024:16384:none 1024:131072:lz4"
fi
mkdir -p "$WORK"

packages="-p streamhouse-bench"
case " $BROKERS " in *" streamhouse "*) packages="-p streamhouse $packages" ;; esac
if [ -z "${SKIP_BUILD:-}" ]; then
  say "building (release)"
  # shellcheck disable=SC2086 # A list of words.
  cargo build --release --locked --quiet $packages
fi
scripts/install kafka
. compat-tests/kafka/env.sh
bench=$CARGO_TARGET_DIR/release/streamhouse-bench
broker_pid='' address='' label=''
trap 'stop_broker' EXIT

# load ARGUMENT...: the load generator against the broker that runs.
load() { "$bench" --bootstrap "$address" --label "$label" --pid "$broker_pid" "$@" | tee -a "$OUT"; }

# A port whose successor is free as well: Kafka's controller takes it.
free_port() {
  python3 - <<'P'
import socket
while True:
    with socket.socket() as one, socket.socket() as next_one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        try:
            next_one.bind(("127.0.0.1", port + 1))
        except OSError:
            continue
        print(port)
        break
P
}

# What both brokers are told beyond their defaults, so that groups form quickly, nobody is taken for dead while 100,000 members
# join, and cleaning begins when it is due.
options="group.initial.rebalance.delay.ms=50 group.consumer.max.session.timeout.ms=1200000 group.consumer.session.timeout.ms=1200000
  log.cleaner.backoff.ms=200"

# start_broker TEST [COMMAND...]: over $WORK/data; TEST names the figure of how long it takes until the command of the load
# generator (await) is done.
start_broker() {
  local port test=$1 flags='' option
  shift
  port=$(free_port)
  address=127.0.0.1:$port
  case $label in
    streamhouse)
      for option in $options; do flags="$flags -o $option"; done
      # shellcheck disable=SC2086 # Words.
      "$CARGO_TARGET_DIR/release/streamhouse" start --data "$WORK/data" --kafka "$address" \
        --http 127.0.0.1:0 --postgres 127.0.0.1:0 $flags >>"$WORK/$label.log" 2>&1 </dev/null &
      ;;
    # shellcheck disable=SC2086 # Words.
    *) compat-tests/kafka/broker "$port" "$WORK/data" file.delete.delay.ms=1000 $options >>"$WORK/$label.log" 2>&1 </dev/null & ;;
  esac
  broker_pid=$!
  if [ $# = 0 ]; then load await --test "$test"; else load "$@"; fi
}

# Begins with nothing.
fresh_broker() {
  stop_broker
  rm -rf "$WORK/data" "$WORK/data.properties"
  case $label in kafka*) start_broker first-start >/dev/null; stop_broker ;; esac
  start_broker start-empty
}

stop_broker() {
  [ -n "$broker_pid" ] || return 0
  kill "${1:--TERM}" "$broker_pid" 2>/dev/null || true
  wait "$broker_pid" 2>/dev/null || true
  broker_pid=''
}

topic_config() { [ "$label" != kafka-synced ] || echo flush.messages=1; }

# with_topic NAME COMMAND...: runs the command while the topic exists.
with_topic() {
  local topic=$1 config; shift
  config=$(topic_config)
  load --topic "$topic" create ${config:+--config "$config"}
  "$@"
  load --topic "$topic" delete
  # What a deleted topic leaves to do must not fall into the next figure.
  sleep 2
}

produce_once() { # topic record batch codec
  load --topic "$1" produce --record-bytes "$2" --batch-bytes "$3" --compression "$4" --idempotent \
    --warm-up 2 --seconds "$seconds"
}

# The same load through Apache Kafka's own producer, which takes most of a core itself.
java_once() { # topic record batch codec
  local records=$((java_mib * 1048576 / $2)) before after line
  before=$(cpu)
  line=$(kafka-producer-perf-test --bootstrap-server "$address" --topic "$1" --num-records "$records" --record-size "$2" \
    --throughput -1 --command-property acks=all batch.size="$3" linger.ms=5 compression.type="$4" 2>>"$WORK/java.err" | tail -1)
  after=$(cpu)
  awk -v l="$label" -v r="$2" -v b="$3" -v z="$4" -v cpu="$before $after" -v mib="$java_mib" -v line="$line" 'BEGIN {
    split(cpu, c, " "); gsub(/[(),]/, "", line); n = split(line, w, " ")
    printf "RESULT label=%s test=java-produce record_bytes=%s batch_bytes=%s compression=%s records_per_s=%.0f mib_per_s=%s", l, r, b, z, w[4], w[6]
    printf " avg_ms=%s p50_ms=%s p99_ms=%s p999_ms=%s broker_cpu_s_per_gib=%.3f\n", w[8], w[16], w[22], w[25], (c[2] - c[1]) / mib * 1024
  }' | tee -a "$OUT"
}

# User and system seconds that the broker has used.
cpu() { awk -v hz="$(getconf CLK_TCK)" '{ sub(/^.*\) /, ""); print ($12 + $13) / hz }' "/proc/$broker_pid/stat"; }

consume_once() { # topic
  load --topic "$1" produce --record-bytes 1024 --batch-bytes 131072 --idempotent --warm-up 0 --seconds "$fill_seconds" >/dev/null
  load --topic "$1" consume --test consume-just-written
  load --topic "$1" consume --test consume-again
  stop_broker
  # Cold: neither the broker nor the kernel remembers anything. Where the cache may not be dropped, only the broker.
  sync
  if ! echo 3 2>/dev/null >/proc/sys/vm/drop_caches; then echo "page cache kept: not permitted to drop it" | tee -a "$OUT"; fi
  start_broker start-with-data
  load --topic "$1" consume --test consume-cold
}

# Members that heartbeat, by number of groups; then the broker is killed and loads them.
groups_once() { # protocol groups seconds-between-heartbeats
  local what="--topic ten --partitions 10 GROUPS --protocol $1 --groups $2 --interval $3 --seconds $((seconds * 2))"
  fresh_broker
  load --topic ten --partitions 10 create
  # shellcheck disable=SC2086 # Words.
  load ${what/GROUPS/groups}
  stop_broker -KILL
  # shellcheck disable=SC2086 # Words.
  start_broker groups-load ${what/GROUPS/groups-loaded}
}

# A virtual machine's memory is slow until it was touched once (2.5 CPU s/GiB here, in whoever happens to do it).
touch_memory() {
  say "touching the machine's memory"
  python3 - <<'P'
import mmap
free = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemAvailable")) * 1024
pages = mmap.mmap(-1, max(free - (3 << 30), 1 << 20))
for at in range(0, len(pages), mmap.PAGESIZE):
    pages[at] = 1
P
}

touch_memory
echo "# $(date -u +%FT%TZ) $(git rev-parse --short HEAD) $(nproc) cores, kernel $(uname -r)${full:+, full}" | tee -a "$OUT"
for label in $BROKERS; do
  rm -f "$WORK/$label.log"
  say "$label"
  # Formats Kafka's directory first, so that the start that counts is a start only.
  fresh_broker
  for test in $TESTS; do
    case $test in
      start) ;;
      idle) load idle --seconds 10 ;;
      produce)
        # A JVM needs to be warm before its figures mean anything; everybody gets the same.
        with_topic warm-up produce_once warm-up 1024 16384 none >/dev/null
        for l in $loads; do IFS=: read -r record batch codec <<<"$l"; with_topic "p-$record-$batch-$codec" produce_once "p-$record-$batch-$codec" "$record" "$batch" "$codec"; done
        ;;
      java)
        for l in $java_loads; do IFS=: read -r record batch codec <<<"$l"; with_topic "j-$record-$batch-$codec" java_once "j-$record-$batch-$codec" "$record" "$batch" "$codec"; done
        ;;
      transactions)
        with_topic tx-1 load --topic tx-1 transactions --seconds "$seconds"
        with_topic tx-16 load --topic tx-16 transactions --producers 16 --partitions-per-transaction 3 --seconds "$seconds"
        with_topic tx-old load --topic tx-old transactions --old-protocol --seconds "$seconds"
        ;;
      consume) with_topic consumed consume_once consumed ;;
      latency)
        with_topic latency load --topic latency latency --rate 10000 --record-bytes 1024 --seconds "$seconds"
        with_topic e2e load --topic e2e latency --tail --rate 10000 --record-bytes 1024 --seconds "$seconds"
        ;;
      rebalance) load --partitions 200 rebalance --members 100 --rounds 20 ;;
      groups)
        for n in $GROUPS_OF_TEN; do groups_once classic "$n" 3; groups_once consumer "$n" 5; done
        fresh_broker
        ;;
      commits)
        load --topic committed --partitions 10 create
        # Twice: a JVM needs to be warm before its figures mean anything.
        for prefix in warm-up simple; do
          load --topic committed --partitions 10 commits --groups 1000 --prefix $prefix --seconds "$seconds"
        done
        load --topic committed --partitions 10 commits --groups 1000 --prefix one --partitions-per-commit 1 --seconds "$seconds"
        load --topic committed --partitions 10 commits --groups 1000 --prefix in-turn --connections 64 --in-flight 1 --seconds "$seconds"
        for protocol in classic consumer; do
          load --topic committed --partitions 10 commits --groups 1000 --prefix $protocol --with-members --protocol $protocol \
            --seconds "$seconds"
        done
        load --topic committed delete
        ;;
      compaction)
        # The first one warms the JVM; both are in the figures.
        for n in 1 2; do load --topic cleaned-$n --partitions 4 compaction --fill-mib 512 --keys 10000; load --topic cleaned-$n delete; done
        ;;
      *) echo "unknown test $test" >&2; exit 2 ;;
    esac
  done
  stop_broker
done
rm -rf "$WORK/data"
say "figures are in $OUT"
