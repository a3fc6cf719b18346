// Package docker follows the containers of a Docker engine through its API: their lines, their lives, what they use. Only
// something that may read the engine's socket can use it, and that is as much as root on the host.
//
// # Use
//
//	in, err := docker.New(docker.Options{Address: "unix:///var/run/docker.sock", Sink: store, Joiner: …, Stages: …})
//	err = in.Run(ctx)
//
// # What it follows
//
// The logs of containers whose driver is json-file, local or journald, whether they run or have ended. Those of other drivers
// are sent somewhere by the engine, and would arrive twice; the measurements name the driver. Left out are containers with the
// label lookout.enable=false, and lookout itself (its own container, and those with lookout.self=true).
//
// A container that was started before Run and is seen for the first time is read back to Options.Since, one that is started
// later from its beginning, and each one that was read before from where that ended, over all restarts of lookout, of the
// container and of the engine. Labels name the events: lookout.service, lookout.env, lookout.version, else those of Swarm and
// Compose, the container's name and the image's tag.
//
// # What becomes of a line
//
// Its time is the engine's. The pieces of 16,384 bytes into which the engine cuts lines are put together, to [event.MaxMessage]
// at most; lines of one stack trace are joined by Options.Joiner. A terminal's "\r" at the end of a line goes, all other bytes
// stay; json-file has replaced bytes that are not UTF-8 by then, also in the middle of a character where it has cut a line.
// An empty line is no event, as with the gelf driver, which does not send one; it is counted.
//
// # What it tells
//
// Container events have stream docker, the container's service and a field action: start, die, oom, unhealthy, healthy,
// restart_loop (three deaths within 10 minutes), stable, destroy, and gap for lines that are or may be missing. A death that
// was asked for (docker stop, docker rm) is info, any other with an exit code than 0 error, out of memory critical.
// Measurements have service docker and stream stats. For probes Options.Targets gets the containers that have a label
// lookout.probe. A container's environment variables go into nothing.
//
// # What it guarantees
//
// Each line that the engine's log has when it is read becomes part of one event in the sink, whatever is killed when: a
// container counts its events (the producer docker/ID), and the cursor behind them, durable with them, says behind which row of
// each stream to go on. Container events likewise (docker-events/ENGINE): those that happened while lookout or the engine was
// not running are told from what inspecting says, each once. Measurements are not counted.
//
// What is missing is said and counted in [Stats].Gaps: lines that were rotated away before they could be read, logs that
// the engine could not read, containers that were removed before their log could be read and to which it had not attached in
// time. When the sink takes nothing, nothing is read; the engine's files keep the lines, as far as they are not rotated.
//
// Three things cannot be had: the order of lines of the two streams (only within each it is kept); two equal lines of the same
// nanosecond of a log that is rotated (the engine itself delivers lines twice then); and the lines of a container that is
// started, writes, is removed, all while lookout is not running.
package docker
