// Package contract is what the Go programs share of the command line that compat-tests/src/programs.rs
// describes: one JSON line per event, and the values that every program writes.
package contract

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What both sides of the tests agree on; see programs.rs.
const (
	SessionMs             = 10_000
	CopySessionMs         = 3_000
	HeartbeatMs           = 300
	RecordsPerTransaction = 25
	TransactionMs         = 10_000
)

var output sync.Mutex

// Say prints one event as one line in one write, so that the lines of several processes in one file
// stand in the order in which they were said.
func Say(fields map[string]any) {
	line, err := json.Marshal(fields)
	Must(err)
	output.Lock()
	defer output.Unlock()
	_, err = os.Stdout.Write(append(line, '\n'))
	Must(err)
}

// Must ends the program when something failed that it cannot handle.
func Must(err error) {
	if err != nil {
		Fail(err)
	}
}

// Fail ends the program; whoever started it reads why on standard error.
func Fail(reason any) {
	fmt.Fprintln(os.Stderr, "ends:", reason)
	os.Exit(3)
}

// EndOfInput is closed when standard input has ended: the program is to finish.
func EndOfInput() <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	return ended
}

// Number is a word of the command line as a number.
func Number(word string) int {
	number, err := strconv.Atoi(word)
	Must(err)
	return number
}

// Header is one header of a record.
type Header struct{ Name, Value string }

// Made is what every program writes as record number `at`; nil is null.
func Made(prefix, codec string, at int) (key, value []byte, headers []Header) {
	if at%3 != 0 {
		key = fmt.Appendf(nil, "k%d", at)
	}
	if at%5 != 4 || key == nil {
		value = fmt.Appendf(nil, "%s-%s-%d%s", prefix, codec, at, strings.Repeat(" padding", 40))
	}
	return key, value, []Header{{"client", prefix}, {"n", strconv.Itoa(at)}}
}

// SayRecord prints one record that was read.
func SayRecord(partition int32, offset int64, key, value []byte, headers [][2]string) {
	text := func(bytes []byte) any {
		if bytes == nil {
			return nil
		}
		return string(bytes)
	}
	Say(map[string]any{
		"event": "record", "partition": partition, "offset": offset,
		"key": text(key), "value": text(value), "headers": headers,
	})
}

// Eventually is what `look` returns, `expected` if that comes: what was changed may be seen a little
// later, for Apache Kafka's brokers learn of it from their controller.
func Eventually(look func() (any, error), expected any) any {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		seen, err := look()
		if err == nil && seen == expected || time.Now().After(end) {
			Must(err)
			return seen
		}
	}
}
