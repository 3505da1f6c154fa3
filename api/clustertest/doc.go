// Package clustertest runs the product as it is meant to run, and breaks it. It starts three PostgreSQL nodes under Patroni
// with three etcds and an API process per node. Clients use all of them while faults happen. Then the answers that the
// clients got are checked for linearizability, and what is stored is compared with them.
//
// Everything is in its tests. They need Patroni, etcd and PostgreSQL with the extension. They take minutes and run only
// when HV_CLUSTER is set ("make test-cluster", "make soak"). The checker's own tests always run. docs/CLUSTER.md says
// what they show.
//
// What runs is private. It has one temporary directory and addresses of 127.0.0.0/8 that nothing else uses. It uses no
// system service and no right of root. A guardian process ends all of it should the test process die.
//
// A node here is no pgtest.Cluster, and neither is made of the other. Patroni controls the PostgreSQL of a node, which has
// to survive the loss of Patroni, and proxies cut the network of the node. A pgtest.Cluster starts and stops its own
// server and is its parent. They share no more than the name of a directory and of a socket.
//
// TestContainers ("make e2e") does the same to the nodes of docker/docker-compose.yml. It is here and not in a package of
// its own because it needs the load, the history and the checker, which would have to be public for this one user. It
// runs in a container and speaks the engine's protocol, so it needs no Docker client and no port of the machine.
package clustertest
