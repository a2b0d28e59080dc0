package main

import (
	"net/url"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// newEtcdCommand serves one etcd member. It never calls fsync: the data ends with the test.
func newEtcdCommand() *cobra.Command {
	var folder, clients, peers string
	command := &cobra.Command{
		Use:           "etcd",
		Short:         "Serve one etcd member until a signal",
		SilenceUsage:  true,
		SilenceErrors: false,
		RunE: func(*cobra.Command, []string) error {
			return serveEtcd(folder, clients, peers)
		},
	}
	command.Flags().StringVar(&folder, "data-dir", "", "folder of the data")
	command.Flags().StringVar(&clients, "clients", "http://127.0.0.1:2379", "URL for clients")
	command.Flags().StringVar(&peers, "peers", "http://127.0.0.1:2380", "URL for peers")
	return command
}

func serveEtcd(folder, clients, peers string) error {
	clientURL, err := url.Parse(clients)
	if err != nil {
		return err
	}
	peerURL, err := url.Parse(peers)
	if err != nil {
		return err
	}
	config := embed.NewConfig()
	config.Dir = folder
	config.LogLevel = "warn"
	config.UnsafeNoFsync = true
	config.AutoCompactionMode = "periodic"
	config.AutoCompactionRetention = (10 * time.Minute).String()
	config.ListenClientUrls = []url.URL{*clientURL}
	config.AdvertiseClientUrls = []url.URL{*clientURL}
	config.ListenPeerUrls = []url.URL{*peerURL}
	config.AdvertisePeerUrls = []url.URL{*peerURL}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer server.Close()
	select {
	case err := <-server.Err():
		return err
	case <-genericapiserver.SetupSignalHandler():
		return nil
	}
}
