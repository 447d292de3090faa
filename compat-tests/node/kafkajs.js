// The commands of compat-tests/src/programs.rs, by KafkaJS.
'use strict'

const fs = require('node:fs')
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs')
const snappy = require('snappyjs')
const lz4 = require('lz4js')
const xxh32 = require('lz4js/xxh32.js')
const { ZstdCodec } = require('zstd-codec')

const SESSION_MS = 10_000
const COPY_SESSION_MS = 3_000
const HEARTBEAT_MS = 300
const RECORDS_PER_TRANSACTION = 25
const TRANSACTION_MS = 10_000

// One event as one line in one write, so that the lines of several processes in one file stand in the
// order in which they were said.
const say = (event) => fs.writeSync(1, JSON.stringify(event) + '\n')

const fail = (reason) => {
  fs.writeSync(2, `ends: ${reason?.stack ?? reason}\n`)
  process.exit(3)
}

const endOfInput = () =>
  new Promise((resolve) => {
    process.stdin.on('end', resolve)
    process.stdin.resume()
  })

const connect = (bootstrap, clientId = 'kafkajs') =>
  new Kafka({
    brokers: [bootstrap],
    clientId,
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 20 },
  })

// KafkaJS brings gzip alone. Java's producers frame Snappy as xerial does, and so must a consumer
// understand both.
const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0])
CompressionCodecs[CompressionTypes.Snappy] = () => ({
  compress: async (encoder) => snappy.compress(encoder.buffer),
  decompress: async (buffer) => {
    if (!buffer.subarray(0, 8).equals(XERIAL)) return snappy.uncompress(buffer)
    const blocks = []
    for (let at = 16; at < buffer.length; ) {
      const end = at + 4 + buffer.readInt32BE(at)
      blocks.push(snappy.uncompress(buffer.subarray(at + 4, end)))
      at = end
    }
    return Buffer.concat(blocks)
  },
})
// lz4js looks for the checksum of a block before the block, where aiokafka's frames, which have them, have
// it behind: its blocks are taken apart here.
const lz4Frame = (buffer) => {
  const content = Buffer.alloc(lz4.decompressBound(buffer))
  const [blockChecksums, contentSize] = [buffer[4] & 0x10, buffer[4] & 0x08]
  let end = 0
  for (let at = contentSize ? 15 : 7; ; ) {
    const word = buffer.readUInt32LE(at)
    const size = word & 0x7fffffff
    at += 4
    if (size === 0) return content.subarray(0, end)
    if (word > 0x7fffffff) end += buffer.copy(content, end, at, at + size)
    else end = lz4.decompressBlock(buffer, content, at, size, end)
    at += size + (blockChecksums ? 4 : 0)
  }
}
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async (encoder) => {
    const frame = Buffer.from(lz4.compress(encoder.buffer))
    // Apache Kafka refuses frames that do not say that their blocks are independent. These are of one
    // block, for lz4js makes blocks of 4 MiB.
    frame[4] |= 0x20
    frame[6] = (xxh32.hash(0, frame, 4, 2) >> 8) & 0xff
    return frame
  },
  decompress: async (buffer) => lz4Frame(buffer),
})
const zstd = new Promise((resolve) => ZstdCodec.run((codec) => resolve(new codec.Streaming())))
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from((await zstd).compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from((await zstd).decompress(buffer)),
})

async function member(bootstrap, group, topic, name) {
  const consumer = connect(bootstrap, name).consumer({
    groupId: group,
    sessionTimeout: SESSION_MS,
    heartbeatInterval: HEARTBEAT_MS,
    maxWaitTimeInMs: 100,
  })
  let owned = new Set()
  const giveUp = (event) => {
    const partitions = [...owned].sort((a, b) => a - b)
    owned = new Set()
    say({ member: name, event, partitions })
  }
  // KafkaJS tells that it rejoins, and then what it was given.
  consumer.on(consumer.events.REBALANCING, () => giveUp('revoked'))
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    if (owned.size > 0) giveUp('lost')
    owned = new Set(payload.memberAssignment[topic] ?? [])
    say({ member: name, event: 'assigned', partitions: [...owned].sort((a, b) => a - b) })
  })
  consumer.on(consumer.events.CRASH, ({ payload }) => fail(payload.error))
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  let working = Promise.resolve()
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: ({ batch, resolveOffset, heartbeat }) => {
      // What was fetched for an assignment that has ended belongs to another member now.
      if (!owned.has(batch.partition)) return Promise.resolve()
      const records = batch.messages.map((it) => [Number(it.offset), it.value.toString()])
      say({ member: name, event: 'read', partition: batch.partition, records })
      working = (async () => {
        await consumer.commitOffsets([
          { topic, partition: batch.partition, offset: (BigInt(batch.lastOffset()) + 1n).toString() },
        ])
        resolveOffset(batch.lastOffset())
        await heartbeat()
      })()
      return working
    },
  })
  await endOfInput()
  // Nothing is read from here on; what was read last is committed before its partition is given up.
  const given = owned
  owned = new Set()
  await working.catch(() => {})
  owned = given
  giveUp('revoked')
  await consumer.disconnect()
  say({ member: name, event: 'left' })
  process.exit(0)
}

async function copy(bootstrap, source, target, _partitions, group, transactionalId, name) {
  const kafka = connect(bootstrap, name)
  const producer = kafka.producer({
    transactionalId,
    idempotent: true,
    maxInFlightRequests: 1,
    transactionTimeout: TRANSACTION_MS,
  })
  // Fences the life before, and completes its transaction, before the offsets are asked for.
  await producer.connect()
  const consumer = kafka.consumer({
    groupId: group,
    sessionTimeout: COPY_SESSION_MS,
    heartbeatInterval: HEARTBEAT_MS,
    maxWaitTimeInMs: 50,
    readUncommitted: false,
  })
  consumer.on(consumer.events.CRASH, ({ payload }) => fail(payload.error))
  await consumer.connect()
  await consumer.subscribe({ topics: [source], fromBeginning: true })
  say({ member: name, event: 'copying' })

  const transact = async (partition, messages) => {
    const transaction = await producer.transaction()
    await transaction.send({
      topic: target,
      messages: messages.map(({ key, value }) => ({ key, value, partition })),
    })
    const next = (BigInt(messages.at(-1).offset) + 1n).toString()
    await transaction.sendOffsets({
      consumerGroupId: group,
      topics: [{ topic: source, partitions: [{ partition, offset: next }] }],
    })
    const committed = Math.random() >= 0.1
    await (committed ? transaction.commit() : transaction.abort())
    say({ member: name, event: committed ? 'committed' : 'aborted', count: messages.length })
    return committed
  }
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: async ({ batch, resolveOffset, heartbeat, isRunning }) => {
      for (let at = 0; at < batch.messages.length && isRunning(); ) {
        const messages = batch.messages.slice(at, at + RECORDS_PER_TRANSACTION)
        // KafkaJS does not say which of its transactions can be gone on with after a failure: none.
        const committed = await transact(batch.partition, messages).catch(fail)
        if (!committed) continue
        resolveOffset(messages.at(-1).offset)
        at += messages.length
        await heartbeat()
      }
    },
  })
}

function made(prefix, codec, at) {
  return {
    key: at % 3 === 0 ? null : `k${at}`,
    value: at % 5 === 4 && at % 3 !== 0 ? null : `${prefix}-${codec}-${at}${' padding'.repeat(40)}`,
    headers: { client: prefix, n: String(at) },
    partition: 0,
  }
}

async function produce(bootstrap, topic, prefix, count) {
  const codecs = {
    none: CompressionTypes.None,
    gzip: CompressionTypes.GZIP,
    snappy: CompressionTypes.Snappy,
    lz4: CompressionTypes.LZ4,
    zstd: CompressionTypes.ZSTD,
  }
  const producer = connect(bootstrap).producer()
  await producer.connect()
  for (const [codec, compression] of Object.entries(codecs)) {
    const messages = Array.from({ length: Number(count) }, (_, at) => made(prefix, codec, at))
    const [sent] = await producer.send({ topic, compression, messages })
    say({ event: 'produced', codec, last: Number(sent.baseOffset) + messages.length - 1 })
  }
  await producer.disconnect()
}

async function read(bootstrap, topic, partitions, marker, isolation) {
  const consumer = connect(bootstrap).consumer({
    // KafkaJS reads in groups only; nothing is committed in this one.
    groupId: `reads-${topic}-${process.pid}`,
    maxWaitTimeInMs: 50,
    readUncommitted: isolation === 'uncommitted',
  })
  consumer.on(consumer.events.CRASH, ({ payload }) => fail(payload.error))
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  const ended = new Set()
  const text = (it) => (it == null ? null : it.toString())
  await new Promise((resolve, reject) => {
    const eachMessage = async ({ partition, message }) => {
      const headers = Object.entries(message.headers).map(([name, value]) => [name, text(value)])
      const offset = Number(message.offset)
      const [key, value] = [text(message.key), text(message.value)]
      say({ event: 'record', partition, offset, key, value, headers })
      if (value === marker) ended.add(partition)
      if (ended.size === Number(partitions)) resolve()
    }
    consumer.run({ autoCommit: false, eachMessage }).catch(reject)
  })
  await consumer.disconnect()
}

async function admin(bootstrap, topic, group) {
  const client = connect(bootstrap).admin()
  await client.connect()
  const found = { event: 'admin' }
  const resource = { type: 2, name: topic }
  const described = async () => {
    const { resources } = await client.describeConfigs({
      resources: [{ ...resource, configNames: ['retention.ms'] }],
    })
    return resources[0].configEntries[0].configValue
  }
  // What was changed may be seen a little later: Apache Kafka's brokers learn of it from their controller.
  const eventually = async (look, expected) => {
    for (const end = Date.now() + 30_000; ; ) {
      const seen = await look().catch((error) => error.message)
      if (seen === expected || Date.now() > end) return seen
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  const partitions = async () => {
    const { topics } = await client.fetchTopicMetadata({ topics: [topic] })
    return topics[0].partitions.length
  }
  const configEntries = [{ name: 'retention.ms', value: '7654321' }]
  await client.createTopics({ topics: [{ topic, numPartitions: 3, configEntries }] })
  // KafkaJS answers false instead of failing.
  found.again = (await client.createTopics({ topics: [{ topic, numPartitions: 3 }] })) ? 0 : 36
  found.partitions = await eventually(partitions, 3)
  found.retention = await eventually(described, '7654321')
  await client.alterConfigs({
    validateOnly: false,
    resources: [{ ...resource, configEntries: [{ name: 'retention.ms', value: '1234567' }] }],
  })
  found.altered = await eventually(described, '1234567')
  await client.createPartitions({ topicPartitions: [{ topic, count: 5 }] })
  found.grown = await eventually(partitions, 5)

  await client.setOffsets({ groupId: group, topic, partitions: [{ partition: 0, offset: '7' }] })
  const listed = async () => (await client.listGroups()).groups.some((it) => it.groupId === group)
  found.group_listed = await listed()
  found.group_state = (await client.describeGroups([group])).groups[0].state
  const [{ partitions: offsets }] = await client.fetchOffsets({ groupId: group, topics: [topic] })
  found.group_offset = Number(offsets.find((it) => it.partition === 0).offset)
  await client.deleteGroups([group])
  found.group_deleted = !(await listed())

  await client.deleteTopics({ topics: [topic] })
  const deleted = async () => !(await client.listTopics()).includes(topic)
  found.topic_deleted = await eventually(deleted, true)
  say(found)
  await client.disconnect()
}

async function lag(bootstrap, group, topic) {
  const client = connect(bootstrap).admin()
  await client.connect()
  const ends = await client.fetchTopicOffsets(topic)
  const [{ partitions }] = await client.fetchOffsets({ groupId: group, topics: [topic] })
  const committed = new Map(partitions.map((it) => [it.partition, Number(it.offset)]))
  const found = ends.map((it) => [it.partition, committed.get(it.partition), Number(it.high)])
  say({ event: 'lag', partitions: found.sort((a, b) => a[0] - b[0]) })
  await client.disconnect()
}

process.on('unhandledRejection', fail)
const [command, ...words] = process.argv.slice(2)
const commands = { member, copy, produce, read, admin, lag }
commands[command](...words).catch(fail)
