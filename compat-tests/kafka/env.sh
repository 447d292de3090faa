# Apache Kafka 4.3.1's command-line tools from Maven's jars, each as a shell function; `broker` beside this file starts the
# broker. Source it in bash; scripts/install kafka copies the jars:
#   . compat-tests/kafka/env.sh
#   kafka-topics --bootstrap-server 127.0.0.1:9092 --list
# Knobs: KAFKA_HEAP_OPTS, KAFKA_JVM_OPTS, KAFKA_LOG_LEVEL (default WARN).

KAFKA_VERSION=4.3.1
KAFKA_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${STREAMHOUSE_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/streamhouse}"
KAFKA_BASE=$STREAMHOUSE_CACHE/kafka-$KAFKA_VERSION
KAFKA_LIBS=$KAFKA_BASE/libs
KAFKA_CLASSES=$KAFKA_BASE/classes

# Jars through Maven, and our Java programs compiled against them; both only when missing or outdated.
kafka_install() {
  local sources=$KAFKA_HERE/../java
  if ! cmp -s "$KAFKA_HERE/pom.xml" "$KAFKA_LIBS/.complete"; then
    echo "== fetching Apache Kafka $KAFKA_VERSION through Maven"
    rm -rf "$KAFKA_LIBS"
    mvn -B -q -f "$KAFKA_HERE/pom.xml" dependency:copy-dependencies \
      -DoutputDirectory="$KAFKA_LIBS" -DincludeScope=runtime </dev/null
    cp "$KAFKA_HERE/pom.xml" "$KAFKA_LIBS/.complete"
  fi
  if [ ! -e "$KAFKA_CLASSES/.complete" ] ||
    [ -n "$(find "$sources" "$KAFKA_LIBS/.complete" -newer "$KAFKA_CLASSES/.complete")" ]; then
    rm -rf "$KAFKA_CLASSES"
    mkdir -p "$KAFKA_CLASSES"
    find "$sources" -name '*.java' -print0 | xargs -0 javac --release 17 -d "$KAFKA_CLASSES" -cp "$KAFKA_LIBS/*"
    touch "$KAFKA_CLASSES/.complete"
  fi
}

# Kafka's test jars through Maven, and our classes for them; both only when missing or outdated.
kafka_suite_install() {
  local suite=$KAFKA_HERE/../kafka-suite libs=$KAFKA_BASE/suite-libs classes=$KAFKA_BASE/suite-classes
  if ! cmp -s "$suite/pom.xml" "$libs/.complete"; then
    echo "== fetching the tests of Apache Kafka $KAFKA_VERSION through Maven"
    rm -rf "$libs"
    mvn -B -q -f "$suite/pom.xml" dependency:copy-dependencies \
      -DoutputDirectory="$libs" -DincludeScope=runtime -DexcludeTransitive=true </dev/null
    cp "$suite/pom.xml" "$libs/.complete"
  fi
  if [ ! -e "$classes/.complete" ] ||
    [ -n "$(find "$suite/src" "$suite/pom.xml" "$libs/.complete" -newer "$classes/.complete")" ]; then
    rm -rf "$classes"
    mkdir -p "$classes"
    find "$suite/src/main/java" -name '*.java' -print0 |
      xargs -0 javac --release 17 -d "$classes" -cp "$libs/*:$KAFKA_LIBS/*"
    cp -r "$suite/src/main/resources/." "$classes/"
    touch "$classes/.complete"
  fi
}

# kafka CLASS ARGUMENT...: runs a class in the foreground; standard streams untouched, logs on stderr.
kafka() {
  java ${KAFKA_HEAP_OPTS:--Xmx256M} ${KAFKA_JVM_OPTS:--XX:TieredStopAtLevel=1 -XX:+UseSerialGC} \
    -Djava.awt.headless=true "-Dlog4j2.configurationFile=file:$KAFKA_HERE/log4j2.yaml" \
    -cp "$KAFKA_CLASSES:$KAFKA_LIBS/*" "$@"
}

_kafka_tool() { eval "$1() { kafka $2 \"\$@\"; }"; }
_kafka_tool kafka-broker-api-versions  org.apache.kafka.tools.BrokerApiVersionsCommand
_kafka_tool kafka-cluster              org.apache.kafka.tools.ClusterTool
_kafka_tool kafka-configs              kafka.admin.ConfigCommand
_kafka_tool kafka-console-consumer     org.apache.kafka.tools.consumer.ConsoleConsumer
_kafka_tool kafka-console-producer     org.apache.kafka.tools.ConsoleProducer
_kafka_tool kafka-consumer-perf-test   org.apache.kafka.tools.ConsumerPerformance
_kafka_tool kafka-delete-records       org.apache.kafka.tools.DeleteRecordsCommand
_kafka_tool kafka-dump-log             org.apache.kafka.tools.DumpLogSegments
_kafka_tool kafka-e2e-latency          org.apache.kafka.tools.EndToEndLatency
_kafka_tool kafka-features             org.apache.kafka.tools.FeatureCommand
_kafka_tool kafka-get-offsets          org.apache.kafka.tools.GetOffsetShell
_kafka_tool kafka-log-dirs             org.apache.kafka.tools.LogDirsCommand
_kafka_tool kafka-metadata-quorum      org.apache.kafka.tools.MetadataQuorumCommand
_kafka_tool kafka-producer-perf-test   org.apache.kafka.tools.ProducerPerformance
_kafka_tool kafka-reassign-partitions  org.apache.kafka.tools.reassign.ReassignPartitionsCommand
_kafka_tool kafka-storage              kafka.tools.StorageTool
_kafka_tool kafka-topics               org.apache.kafka.tools.TopicCommand
_kafka_tool kafka-transactions         org.apache.kafka.tools.TransactionsCommand
