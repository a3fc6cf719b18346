// Package gelf receives GELF, the protocol of Graylog, which Docker's gelf log driver and many logging libraries speak.
//
// # Use
//
//	in := gelf.New(gelf.Options{Addr: ":12201", Sink: store, Joiner: joiner, Stages: stages})
//	err := in.Run(ctx)
//
// [Decoder] is the protocol without the network: a message in, an event out.
//
// # What it accepts
//
// A datagram is a message or a chunk of one (1e 0f, 8 bytes id, number, count, part of the message). Chunks may come in any
// order, may be empty, and there may be 1 to 128 of them; they are put together by sender and id, and have 5 s for it.
// At most 4,096 messages and 32 MiB wait for chunks, then the oldest is given up. A message is JSON as it is or compressed
// with gzip, zlib or zstd, told apart by the first bytes, and at most 4 MiB ([MaxSize]).
//
// Events are accepted from loopback and private addresses unless Options.Allow says otherwise: GELF has no authentication.
//
// # What becomes of a message
//
// Every field is kept. The leading _ of a field's name is taken off once; nested objects are flattened with dots. What
// becomes a part of the event is not kept a second time under the same name:
//
//	message    full_message when it contains short_message (the libraries cut short_message to the first line or to so
//	           many characters, or repeat it) or when that is empty; short_message when full_message is empty; otherwise
//	           both, a line break between them. Without either, a field message.
//	time       timestamp: seconds since 1970 as a decimal number, read to the nanosecond; also one that is too long for
//	           seconds and fits milli-, micro- or nanoseconds, one in quotes, and RFC 3339. Without one between the years
//	           1980 and 2200 the time of receipt; timestamp is kept as a field then.
//	level      level: 0 to 7, or a level's name. A word that says more than the level's name (fatal), and what is no
//	           level, is kept as the field level_text.
//	host       host
//	service    the first of: service, lookout.service, com.docker.compose.service, com.docker.swarm.service.name, tag
//	           (unless it is or contains the container's id, as Docker's default does), container_name, facility, host
//	env        the first of: env, environment, lookout.env, com.docker.stack.namespace, com.docker.compose.project
//	container  the first of: container_name, container, container_id
//	stream     stdout or stderr for Docker's messages (they have container_id and level 6 or 3), otherwise stream
//	fields     all others, tag, container_name, facility and the like among them. A name that lookout uses for
//	           something else (id, time, level, a second host, …) gets a _ behind it. Only version (1.0, 1.1) is dropped.
//
// An array is a field several times, the number, the text, null and the raw JSON of {} are kept as they came.
//
// Docker cuts lines at 16,384 bytes and sends the pieces as messages of their own. Pieces of one line (same container,
// stream and time, each but the last of 16,384 bytes) become one event again, as far as [event.MaxMessage]; the line goes
// on when its last piece has come, or after a second.
//
// # What it guarantees
//
// Every datagram that reached this machine is counted: it is part of an event, or waits for its other chunks, or is in one
// of [Stats]' causes; the kernel's own drops are among them. Nothing a sender sends ends the input, makes it use more
// memory than its bounds, or is read as anything but text.
package gelf
