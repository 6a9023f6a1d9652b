"""Networks for other programs and other machines: ONNX, OpenVINO and torch.export, checked against float64."""
