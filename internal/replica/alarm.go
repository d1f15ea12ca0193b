package replica

import (
	"strings"

	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// alarmPrefix begins the text of the alarm.
const alarmPrefix = "lost data: "

// alarmEveryTicks is how often a replica with the alarm tells the others of its shard.
const alarmEveryTicks = 20

// raise sets the alarm: from now on this replica serves nothing, in whatever role. The evidence may never
// come again, so the alarm must outlive the leader that saw it: it is kept on disk, and the other replicas are
// told, and tell those that start later.
func (r *Replica) raise(text string) {
	if r.alarm != "" {
		return
	}
	r.alarm, r.out.Alarm = text, text
	r.tellAlarm()
}

// tellAlarm sends the alarm to the other replicas of the shard. It needs no message of its own: a reply that
// nobody asked for, with request number 0, which no inquiry has.
func (r *Replica) tellAlarm() {
	for _, id := range r.conf.all {
		if id != r.id {
			r.out.Sends = append(r.out.Sends, Send{Server: ServerOf(id),
				Message: &wire.Reply{Status: wire.StatusNotReady, Text: r.alarm}})
		}
	}
}

// stepAlarm takes the alarm of another replica of this shard; false: the message is none.
func (r *Replica) stepAlarm(from shard.ServerID, m *wire.Reply) bool {
	if m.Request != 0 {
		return false
	}
	_, c, ok := r.options.Topology.Server(from)
	if !ok || c.Shard != r.options.Shard || m.Status != wire.StatusNotReady || !strings.HasPrefix(m.Text, alarmPrefix) {
		r.counters.badMessages++
		return true
	}
	if r.alarm == "" {
		r.event(LevelError, "another server of this shard says that data is lost", "server", uint64(from), "text", m.Text)
		r.raise(m.Text)
	}
	return true
}
