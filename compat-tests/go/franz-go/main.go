// The commands of compat-tests/src/programs.rs, by franz-go.
package main

import (
	"context"
	"errors"
	"math/rand"
	"os"
	"sort"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	. "streamhouse-compat-clients/contract"
)

var background = context.Background()

func main() {
	words := os.Args[2:]
	switch os.Args[1] {
	case "member":
		member(words[0], words[1], words[2], words[3], words[4], words[5])
	case "copy":
		copyTopic(words[0], words[1], words[2], words[4], words[5], words[6], words[7])
	case "produce":
		produce(words[0], words[1], words[2], Number(words[3]))
	case "read":
		read(words[0], words[1], Number(words[2]), words[3], words[4] == "committed")
	case "admin":
		admin(words[0], words[1], words[2])
	case "lag":
		lag(words[0], words[1], words[2])
	default:
		Fail("unknown command " + os.Args[1])
	}
}

func connect(bootstrap string, options ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap)}, options...)...)
	Must(err)
	return client
}

// balancing is the options of an assignor, or of the protocol `consumer`.
func balancing(assignor string) []kgo.Opt {
	switch assignor {
	case "range":
		return []kgo.Opt{kgo.Balancers(kgo.RangeBalancer())}
	case "roundrobin":
		return []kgo.Opt{kgo.Balancers(kgo.RoundRobinBalancer())}
	case "sticky":
		return []kgo.Opt{kgo.Balancers(kgo.StickyBalancer())}
	case "cooperative-sticky":
		return []kgo.Opt{kgo.Balancers(kgo.CooperativeStickyBalancer())}
	case "consumer":
		return []kgo.Opt{kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer())}
	}
	Fail("unknown assignor " + assignor)
	return nil
}

func sorted(partitions []int32) []int32 {
	all := append([]int32{}, partitions...)
	sort.Slice(all, func(a, b int) bool { return all[a] < all[b] })
	return all
}

func member(bootstrap, group, topic, name, assignor, instance string) {
	say := func(event string, partitions []int32) {
		Say(map[string]any{"member": name, "event": event, "partitions": sorted(partitions)})
	}
	options := append(balancing(assignor),
		kgo.ConsumerGroup(group),
		kgo.ClientID(name),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(SessionMs*time.Millisecond),
		kgo.HeartbeatInterval(HeartbeatMs*time.Millisecond),
		kgo.FetchMaxWait(100*time.Millisecond),
		kgo.DisableAutoCommit(),
		// A rebalance waits until what was polled is said and committed.
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, all map[string][]int32) {
			say("assigned", all[topic])
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, client *kgo.Client, all map[string][]int32) {
			Must(client.CommitUncommittedOffsets(background))
			say("revoked", all[topic])
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, all map[string][]int32) {
			say("lost", all[topic])
		}),
	)
	if instance != "-" {
		options = append(options, kgo.InstanceID(instance))
	}
	client := connect(bootstrap, options...)
	running, stop := context.WithCancel(background)
	go func() {
		<-EndOfInput()
		stop()
	}()
	for running.Err() == nil {
		fetches := client.PollRecords(running, 100)
		fetches.EachPartition(func(part kgo.FetchTopicPartition) {
			records := [][2]any{}
			for _, record := range part.Records {
				records = append(records, [2]any{record.Offset, string(record.Value)})
			}
			if len(records) > 0 {
				Say(map[string]any{"member": name, "event": "read", "partition": part.Partition, "records": records})
			}
		})
		if !fetches.Empty() {
			// A rebalance that has begun refuses it; it is committed when partitions are revoked.
			_ = client.CommitUncommittedOffsets(background)
		}
		client.AllowRebalance()
	}
	memberID, _ := client.GroupMetadata()
	client.CloseAllowingRebalance()
	if assignor == "consumer" && instance != "-" {
		leaveForNow(bootstrap, group, memberID, instance)
	}
	Say(map[string]any{"member": name, "event": "left"})
}

// leaveForNow gives the instance id back. franz-go 1.22.3 leaves without naming it, which is refused
// (INVALID_REQUEST), so that the id would stay taken until the session has ended.
func leaveForNow(bootstrap, group, memberID, instance string) {
	client := connect(bootstrap)
	defer client.Close()
	leave := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	leave.Group = group
	leave.MemberID = memberID
	leave.MemberEpoch = -2
	leave.InstanceID = &instance
	answer, err := leave.RequestWith(background, client)
	Must(err)
	Must(kerr.ErrorForCode(answer.ErrorCode))
}

func copyTopic(bootstrap, source, target, group, transactionalID, name, assignor string) {
	session, err := kgo.NewGroupTransactSession(append(balancing(assignor),
		kgo.SeedBrokers(bootstrap),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(source),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(50*time.Millisecond),
		kgo.SessionTimeout(CopySessionMs*time.Millisecond),
		kgo.HeartbeatInterval(HeartbeatMs*time.Millisecond),
		kgo.TransactionalID(transactionalID),
		kgo.TransactionTimeout(TransactionMs*time.Millisecond),
		kgo.DefaultProduceTopic(target),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	)...)
	Must(err)
	Say(map[string]any{"member": name, "event": "copying"})
	for {
		fetches := session.PollRecords(background, RecordsPerTransaction)
		if fetches.Empty() {
			continue
		}
		Must(session.Begin())
		failed := kgo.AbortingFirstErrPromise(session.Client())
		fetches.EachRecord(func(record *kgo.Record) {
			copied := &kgo.Record{Key: record.Key, Value: record.Value, Partition: record.Partition}
			session.Produce(background, copied, failed.Promise())
		})
		commit := kgo.TransactionEndTry(failed.Err() == nil && rand.Intn(10) != 0)
		committed, err := session.End(background, commit)
		Must(err)
		event := "aborted"
		if committed {
			event = "committed"
		}
		Say(map[string]any{"member": name, "event": event, "count": fetches.NumRecords()})
	}
}

func produce(bootstrap, topic, prefix string, count int) {
	codecs := []struct {
		name  string
		codec kgo.CompressionCodec
	}{
		{"none", kgo.NoCompression()},
		{"gzip", kgo.GzipCompression()},
		{"snappy", kgo.SnappyCompression()},
		{"lz4", kgo.Lz4Compression()},
		{"zstd", kgo.ZstdCompression()},
	}
	for _, each := range codecs {
		client := connect(bootstrap,
			kgo.DefaultProduceTopic(topic),
			kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.ProducerBatchCompression(each.codec))
		batch := []*kgo.Record{}
		for at := range count {
			key, value, headers := Made(prefix, each.name, at)
			record := &kgo.Record{Key: key, Value: value}
			for _, header := range headers {
				record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Name, Value: []byte(header.Value)})
			}
			batch = append(batch, record)
		}
		results := client.ProduceSync(background, batch...)
		Must(results.FirstErr())
		Say(map[string]any{"event": "produced", "codec": each.name, "last": results[count-1].Record.Offset})
		client.Close()
	}
}

func read(bootstrap, topic string, partitions int, marker string, committed bool) {
	from := map[int32]kgo.Offset{}
	for partition := range partitions {
		from[int32(partition)] = kgo.NewOffset().AtStart()
	}
	isolation := kgo.ReadUncommitted()
	if committed {
		isolation = kgo.ReadCommitted()
	}
	client := connect(bootstrap,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(isolation),
		kgo.FetchMaxWait(50*time.Millisecond))
	defer client.Close()
	ended := map[int32]bool{}
	for len(ended) < partitions {
		fetches := client.PollFetches(background)
		for _, failure := range fetches.Errors() {
			Must(failure.Err)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			headers := [][2]string{}
			for _, header := range record.Headers {
				headers = append(headers, [2]string{header.Key, string(header.Value)})
			}
			SayRecord(record.Partition, record.Offset, record.Key, record.Value, headers)
			if string(record.Value) == marker {
				ended[record.Partition] = true
			}
		})
	}
}

func admin(bootstrap, topic, group string) {
	client := kadm.NewClient(connect(bootstrap))
	defer client.Close()
	found := map[string]any{"event": "admin"}
	retention := func(value string) *string { return &value }
	described := func() (any, error) {
		configs, err := client.DescribeTopicConfigs(background, topic)
		if err != nil {
			return nil, err
		}
		config, err := configs.On(topic, nil)
		for _, entry := range config.Configs {
			if entry.Key == "retention.ms" {
				return entry.MaybeValue(), err
			}
		}
		return "missing", err
	}
	partitions := func() (any, error) {
		topics, err := client.ListTopics(background, topic)
		return len(topics[topic].Partitions), err
	}
	_, err := client.CreateTopic(background, 3, 1, map[string]*string{"retention.ms": retention("7654321")}, topic)
	Must(err)
	_, err = client.CreateTopic(background, 3, 1, nil, topic)
	if code := new(kerr.Error); errors.As(err, &code) {
		found["again"] = code.Code
	}
	found["partitions"] = Eventually(partitions, 3)
	found["retention"] = Eventually(described, "7654321")
	altered, err := client.AlterTopicConfigs(background,
		[]kadm.AlterConfig{{Name: "retention.ms", Value: retention("1234567")}}, topic)
	Must(err)
	Must(altered[0].Err)
	found["altered"] = Eventually(described, "1234567")
	grown, err := client.UpdatePartitions(background, 5, topic)
	Must(err)
	Must(grown.Error())
	found["grown"] = Eventually(partitions, 5)

	offsets := kadm.Offsets{}
	offsets.AddOffset(topic, 0, 7, -1)
	Must(client.CommitAllOffsets(background, group, offsets))
	groups, err := client.ListGroups(background)
	Must(err)
	_, found["group_listed"] = groups[group]
	states, err := client.DescribeGroups(background, group)
	Must(err)
	Must(states.Error())
	found["group_state"] = states[group].State
	committed, err := client.FetchOffsets(background, group)
	Must(err)
	offset, _ := committed.Lookup(topic, 0)
	found["group_offset"] = offset.At
	_, err = client.DeleteGroup(background, group)
	Must(err)
	groups, err = client.ListGroups(background)
	Must(err)
	_, left := groups[group]
	found["group_deleted"] = !left

	_, err = client.DeleteTopic(background, topic)
	Must(err)
	found["topic_deleted"] = Eventually(func() (any, error) {
		topics, err := client.ListTopics(background)
		return !topics.Has(topic), err
	}, true)
	Say(found)
}

func lag(bootstrap, group, topic string) {
	client := kadm.NewClient(connect(bootstrap))
	defer client.Close()
	committed, err := client.FetchOffsets(background, group)
	Must(err)
	ends, err := client.ListEndOffsets(background, topic)
	Must(err)
	found := [][3]int64{}
	for partition := range int32(len(ends[topic])) {
		offset := int64(-1)
		if at, exists := committed.Lookup(topic, partition); exists {
			Must(at.Err)
			offset = at.At
		}
		end, _ := ends.Lookup(topic, partition)
		Must(end.Err)
		found = append(found, [3]int64{int64(partition), offset, end.Offset})
	}
	Say(map[string]any{"event": "lag", "partitions": found})
}
