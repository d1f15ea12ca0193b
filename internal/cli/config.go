package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"raftbank/internal/api"
	"raftbank/internal/config"
)

func newConfigCmd(a *App) *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "Print the effective configuration, as TOML that --config reads",
		Args:  arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.runConfig(cmd.Context())
		},
	}
}

// runConfig prints the effective configuration: TOML, or JSON with a JSON format.
func (a *App) runConfig(context.Context) error {
	v := api.Config{
		OpeningBalance: fmt.Sprint(a.Topology.OpeningBalance),
		Total:          a.Topology.Total().String(),
	}
	for _, c := range a.Topology.Clusters {
		cluster := api.ConfigCluster{Shard: int(c.Shard), Cluster: c.Shard.String(),
			First: c.Range.First.String(), Last: c.Range.Last.String()}
		for _, s := range c.Servers {
			cluster.Servers = append(cluster.Servers, api.ConfigServer{Server: int(s.ID), Addr: s.Addr})
		}
		v.Clusters = append(v.Clusters, cluster)
	}
	return a.print(v, func(w io.Writer) {
		_, _ = io.WriteString(w, config.Format(a.Topology))
		if a.Storage != (config.Storage{}) {
			_, _ = io.WriteString(w, config.FormatStorage(a.Storage))
		}
	})
}
