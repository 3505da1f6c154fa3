// Package clustertest runs the product as it is meant to run, and breaks it: three PostgreSQL nodes under Patroni with
// three etcds, an API process per node, clients of all of them, and faults. The history of what the clients were told
// is then checked for linearizability, and what is stored is compared with it.
//
// Everything is in its tests. They need Patroni, etcd and PostgreSQL with the extension, take minutes, and run only
// when HV_CLUSTER is set ("make test-cluster", "make soak"); the checker's own tests always run. docs/CLUSTER.md says
// what they show.
//
// What runs is private: one temporary directory, addresses of its own in 127.0.0.0/8, no system service, nothing as root.
// A guardian process ends all of it should the test process die.
//
// A node here is no pgtest.Cluster, and neither is made of the other. Patroni starts, configures, promotes and stops the
// PostgreSQL of a node, which has to survive the loss of Patroni, and the way to it is cut at proxies. A pgtest.Cluster
// starts and stops its own server and is its parent. They share no more than the name of a directory and of a socket.
//
// TestContainers ("make e2e") does the same to the nodes of docker/docker-compose.yml. It is here and not in a package of
// its own because it needs the load, the history and the checker, which would have to be public for this one user. It
// runs in a container and speaks the engine's protocol, so it needs no Docker client and no port of the machine.
package clustertest
