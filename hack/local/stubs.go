package main
import ("context";"errors";"github.com/spf13/cobra")
func (c *Cluster) startNode(ctx context.Context) error {return errors.New("not there yet; use --node none")}
func (c *Cluster) startFakeNodes(ctx context.Context) error {return errors.New("not there yet; use --node none")}
func (c *Cluster) nodeService() service {return service{}}
func (c *Cluster) kwok() service {return service{}}
func imageCommand() *cobra.Command {return &cobra.Command{Use:"image"}}
func nodeInitCommand() *cobra.Command {return &cobra.Command{Use:"node"}}
