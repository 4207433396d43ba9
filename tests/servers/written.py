"""Manifests as users write them, the labels of a run, and a sleep that takes no time."""

import asyncio

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm
spec:
  replicas: 1
  selector:
    matchLabels: {app: vllm}
  template:
    metadata:
      labels: {app: vllm}
    spec:
      containers:
        - name: server
          image: vllm/vllm-openai:v0.11.0
          ports: [{name: http, containerPort: 8000}]
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: vllm
spec:
  type: NodePort
  selector: {app: vllm}
  ports: [{name: http, port: 80, targetPort: http, nodePort: 30080}]
"""
LABELS = {"benchcore.dev/run": "20261121T0800Z-a", "benchcore.dev/scenario": "hybrid one"}


class Waits:
    """A sleep that only notes how long it should be."""

    def __init__(self):
        self.seconds = []

    async def __call__(self, seconds):
        self.seconds.append(seconds)
        await asyncio.sleep(0.001)
