// The commands of compat-tests/src/programs.rs, by Sarama.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"sync"
	"time"

	"github.com/IBM/sarama"

	. "streamhouse-compat-clients/contract"
)

func main() {
	words := os.Args[2:]
	switch os.Args[1] {
	case "member":
		member(words[0], words[1], words[2], words[3], words[4], words[5])
	case "copy":
		copyTopic(words[0], words[1], words[2], words[4], words[5], words[6])
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

func settings() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.V4_0_0_0
	config.Metadata.Retry.Max = 50
	config.Metadata.Retry.Backoff = 100 * time.Millisecond
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	config.Consumer.Retry.Backoff = 100 * time.Millisecond
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Session.Timeout = SessionMs * time.Millisecond
	config.Consumer.Group.Heartbeat.Interval = HeartbeatMs * time.Millisecond
	config.Consumer.Group.Rebalance.Retry.Max = 50
	config.Consumer.Group.Rebalance.Retry.Backoff = 100 * time.Millisecond
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.RequiredAcks = sarama.WaitForAll
	return config
}

func strategy(assignor string) sarama.BalanceStrategy {
	switch assignor {
	case "range":
		return sarama.NewBalanceStrategyRange()
	case "roundrobin":
		return sarama.NewBalanceStrategyRoundRobin()
	case "sticky":
		return sarama.NewBalanceStrategySticky()
	case "cooperative-sticky":
		return sarama.NewBalanceStrategyCooperativeSticky()
	}
	Fail("unknown assignor " + assignor)
	return nil
}

// handler runs `claim` for every partition that a member is given, for as long as it has it.
type handler struct {
	claim func(sarama.ConsumerGroupSession, sarama.ConsumerGroupClaim) error
}

func (handler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (handler) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (h handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	return h.claim(session, claim)
}

// more adds to `batch` what can be had without waiting.
func more(batch []*sarama.ConsumerMessage, from <-chan *sarama.ConsumerMessage, most int) []*sarama.ConsumerMessage {
	for len(batch) < most {
		select {
		case message, open := <-from:
			if !open {
				return batch
			}
			batch = append(batch, message)
		default:
			return batch
		}
	}
	return batch
}

func member(bootstrap, group, topic, name, assignor, instance string) {
	config := settings()
	config.ClientID = name
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategy(assignor)}
	if instance != "-" {
		config.Consumer.Group.InstanceId = instance
	}
	client, err := sarama.NewConsumerGroup([]string{bootstrap}, group, config)
	Must(err)
	running, stop := context.WithCancel(context.Background())
	go func() {
		<-EndOfInput()
		stop()
	}()
	claimed := func(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
		mine := []int32{claim.Partition()}
		Say(map[string]any{"member": name, "event": "assigned", "partitions": mine})
		for message := range claim.Messages() {
			batch := more([]*sarama.ConsumerMessage{message}, claim.Messages(), 100)
			records := [][2]any{}
			for _, message := range batch {
				records = append(records, [2]any{message.Offset, string(message.Value)})
				session.MarkMessage(message, "")
			}
			Say(map[string]any{"member": name, "event": "read", "partition": claim.Partition(), "records": records})
			session.Commit()
		}
		// The partition is given up when this returns, and not before.
		session.Commit()
		Say(map[string]any{"member": name, "event": "revoked", "partitions": mine})
		return nil
	}
	for running.Err() == nil {
		err := client.Consume(running, []string{topic}, handler{claimed})
		if err != nil && running.Err() == nil {
			fmt.Fprintln(os.Stderr, "consume:", err)
		}
	}
	Must(client.Close())
	Say(map[string]any{"member": name, "event": "left"})
}

func copyTopic(bootstrap, source, target, group, transactionalID, name string) {
	config := settings()
	config.Consumer.IsolationLevel = sarama.ReadCommitted
	config.Consumer.Group.Session.Timeout = CopySessionMs * time.Millisecond
	config.Producer.Idempotent = true
	config.Producer.Transaction.ID = transactionalID
	config.Producer.Transaction.Timeout = TransactionMs * time.Millisecond
	config.Net.MaxOpenRequests = 1
	// Fences the life before, and completes its transaction, before the offsets are asked for.
	producer, err := sarama.NewSyncProducer([]string{bootstrap}, config)
	Must(err)
	client, err := sarama.NewConsumerGroup([]string{bootstrap}, group, config)
	Must(err)
	Say(map[string]any{"member": name, "event": "copying"})
	var one sync.Mutex
	transact := func(session sarama.ConsumerGroupSession, batch []*sarama.ConsumerMessage) {
		one.Lock()
		defer one.Unlock()
		metadata := sarama.NewConsumerGroupMetadataFromSession(session, group, nil)
		// One that was aborted is tried again: a claim does not rewind.
		for session.Context().Err() == nil {
			Must(producer.BeginTxn())
			copied := []*sarama.ProducerMessage{}
			for _, message := range batch {
				copied = append(copied, &sarama.ProducerMessage{
					Topic: target, Partition: message.Partition,
					Key: sarama.ByteEncoder(message.Key), Value: sarama.ByteEncoder(message.Value),
				})
			}
			Must(producer.SendMessages(copied))
			Must(producer.AddMessageToTxnWithGroupMetadata(batch[len(batch)-1], metadata, nil))
			if rand.Intn(10) == 0 {
				Must(producer.AbortTxn())
				Say(map[string]any{"member": name, "event": "aborted", "count": len(batch)})
				continue
			}
			Must(producer.CommitTxn())
			Say(map[string]any{"member": name, "event": "committed", "count": len(batch)})
			return
		}
	}
	claimed := func(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
		for message := range claim.Messages() {
			transact(session, more([]*sarama.ConsumerMessage{message}, claim.Messages(), RecordsPerTransaction))
		}
		return nil
	}
	for {
		if err := client.Consume(context.Background(), []string{source}, handler{claimed}); err != nil {
			fmt.Fprintln(os.Stderr, "consume:", err)
		}
	}
}

func produce(bootstrap, topic, prefix string, count int) {
	codecs := []struct {
		name  string
		codec sarama.CompressionCodec
	}{
		{"none", sarama.CompressionNone},
		{"gzip", sarama.CompressionGZIP},
		{"snappy", sarama.CompressionSnappy},
		{"lz4", sarama.CompressionLZ4},
		{"zstd", sarama.CompressionZSTD},
	}
	for _, each := range codecs {
		config := settings()
		config.Producer.Compression = each.codec
		producer, err := sarama.NewSyncProducer([]string{bootstrap}, config)
		Must(err)
		batch := []*sarama.ProducerMessage{}
		for at := range count {
			key, value, headers := Made(prefix, each.name, at)
			message := &sarama.ProducerMessage{Topic: topic}
			if key != nil {
				message.Key = sarama.ByteEncoder(key)
			}
			if value != nil {
				message.Value = sarama.ByteEncoder(value)
			}
			for _, header := range headers {
				message.Headers = append(message.Headers,
					sarama.RecordHeader{Key: []byte(header.Name), Value: []byte(header.Value)})
			}
			batch = append(batch, message)
		}
		Must(producer.SendMessages(batch))
		Say(map[string]any{"event": "produced", "codec": each.name, "last": batch[count-1].Offset})
		Must(producer.Close())
	}
}

func read(bootstrap, topic string, partitions int, marker string, committed bool) {
	config := settings()
	if committed {
		config.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	consumer, err := sarama.NewConsumer([]string{bootstrap}, config)
	Must(err)
	var all sync.WaitGroup
	for partition := range int32(partitions) {
		messages, err := consumer.ConsumePartition(topic, partition, sarama.OffsetOldest)
		Must(err)
		all.Go(func() {
			for message := range messages.Messages() {
				headers := [][2]string{}
				for _, header := range message.Headers {
					headers = append(headers, [2]string{string(header.Key), string(header.Value)})
				}
				SayRecord(partition, message.Offset, message.Key, message.Value, headers)
				if string(message.Value) == marker {
					break
				}
			}
		})
	}
	all.Wait()
}

func admin(bootstrap, topic, group string) {
	config := settings()
	client, err := sarama.NewClient([]string{bootstrap}, config)
	Must(err)
	admin, err := sarama.NewClusterAdminFromClient(client)
	Must(err)
	found := map[string]any{"event": "admin"}
	text := func(value string) *string { return &value }
	described := func() (any, error) {
		entries, err := admin.DescribeConfig(sarama.ConfigResource{
			Type: sarama.TopicResource, Name: topic, ConfigNames: []string{"retention.ms"},
		})
		if len(entries) != 1 {
			return "missing", err
		}
		return entries[0].Value, err
	}
	partitions := func() (any, error) {
		topics, err := admin.DescribeTopics([]string{topic})
		if err != nil {
			return nil, err
		}
		return len(topics[0].Partitions), nil
	}
	Must(admin.CreateTopic(topic, &sarama.TopicDetail{
		NumPartitions: 3, ReplicationFactor: 1, ConfigEntries: map[string]*string{"retention.ms": text("7654321")},
	}, false))
	err = admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1}, false)
	if refused := new(sarama.TopicError); errors.As(err, &refused) {
		found["again"] = int(refused.Err)
	}
	found["partitions"] = Eventually(partitions, 3)
	found["retention"] = Eventually(described, "7654321")
	Must(admin.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
		"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: text("1234567")},
	}, false))
	found["altered"] = Eventually(described, "1234567")
	Must(admin.CreatePartitions(topic, 5, nil, false))
	found["grown"] = Eventually(partitions, 5)

	answer, err := admin.AlterConsumerGroupOffsets(group, map[string]map[int32]sarama.OffsetAndMetadata{
		topic: {0: {Offset: 7, LeaderEpoch: -1}},
	}, nil)
	Must(err)
	if refused := answer.Errors[topic][0]; refused != sarama.ErrNoError {
		Fail(refused)
	}
	groups, err := admin.ListConsumerGroups()
	Must(err)
	_, found["group_listed"] = groups[group]
	states, err := admin.DescribeConsumerGroups([]string{group})
	Must(err)
	found["group_state"] = states[0].State
	committed, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}})
	Must(err)
	found["group_offset"] = committed.GetBlock(topic, 0).Offset
	Must(admin.DeleteConsumerGroup(group))
	groups, err = admin.ListConsumerGroups()
	Must(err)
	_, left := groups[group]
	found["group_deleted"] = !left

	Must(admin.DeleteTopic(topic))
	found["topic_deleted"] = Eventually(func() (any, error) {
		topics, err := admin.ListTopics()
		_, left := topics[topic]
		return !left, err
	}, true)
	Say(found)
	Must(admin.Close())
}

func lag(bootstrap, group, topic string) {
	client, err := sarama.NewClient([]string{bootstrap}, settings())
	Must(err)
	admin, err := sarama.NewClusterAdminFromClient(client)
	Must(err)
	partitions, err := client.Partitions(topic)
	Must(err)
	committed, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: partitions})
	Must(err)
	found := [][3]int64{}
	for _, partition := range partitions {
		end, err := client.GetOffset(topic, partition, sarama.OffsetNewest)
		Must(err)
		found = append(found, [3]int64{int64(partition), committed.GetBlock(topic, partition).Offset, end})
	}
	Say(map[string]any{"event": "lag", "partitions": found})
	Must(admin.Close())
}
