package api

// Cluster picks one cluster; the zero value if the answer lacks it.
func (s Status) Cluster(id int) ShardStatus {
	for _, c := range s.Shards {
		if c.Shard == id {
			return c
		}
	}
	return ShardStatus{}
}

// LeadingServer returns the server that leads in the highest term, or nil: a paused or cut-off leader may
// believe in an older one.
func (c ShardStatus) LeadingServer() *ServerStatus {
	var leader *ServerStatus
	for i := range c.Servers {
		s := &c.Servers[i]
		if s.Up && s.Role == "leader" && (leader == nil || s.Term > leader.Term) {
			leader = s
		}
	}
	return leader
}
