/** The interface that the kubelet and network policies expect in a pod. */
export const POD_INTERFACE = 'eth0';
