package api

// Performances is what the running client servers have measured.
type Performances struct {
	Clients []Performance `json:"clients"`
	Error   *Error        `json:"error,omitempty"`
}

// Version says what program this is.
type Version struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"` // operating system and processor
	Revision string `json:"revision,omitempty"`
}

// ConfigServer is one server of the effective configuration.
type ConfigServer struct {
	Server int    `json:"server"`
	Addr   string `json:"addr"`
}

// ConfigCluster is one cluster of the effective configuration.
type ConfigCluster struct {
	Shard   int            `json:"shard"`
	Cluster string         `json:"cluster"`
	First   string         `json:"first_account"`
	Last    string         `json:"last_account"`
	Servers []ConfigServer `json:"servers"`
}

// Config is the effective configuration.
type Config struct {
	OpeningBalance string          `json:"opening_balance"`
	Total          string          `json:"total"` // what GENESIS opens
	Clusters       []ConfigCluster `json:"clusters"`
}
