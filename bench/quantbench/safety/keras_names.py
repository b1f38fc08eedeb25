"""List what a Keras file may name; sorted lists, so that reading an untrusted file imports nothing heavy.

A test (`tests/safety/test_keras_config.py`) compares them with the installed Keras 2 and 3: every name exists there,
every public layer is listed or refused for a reason, and no listed module has anything but Keras' own classes under a
listed name.
"""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Classes of Keras 2 (tf-keras): layers, their arguments, and what a nested compiled model is compiled with.
CLASSES_2 = _names(
    """
    AUC AbstractRNNCell Accuracy Activation ActivityRegularization Adadelta Adafactor Adagrad Adam AdamW Adamax
    Add AddLoss AddMetric AdditiveAttention AlphaDropout Attention Average AveragePooling1D AveragePooling2D
    AveragePooling3D AvgPool1D AvgPool2D AvgPool3D BatchNormalization BatchNormalizationV1 BatchNormalizationV2
    Bidirectional BinaryAccuracy BinaryCrossentropy BinaryFocalCrossentropy BinaryIoU CategoricalAccuracy
    CategoricalCrossentropy CategoricalFocalCrossentropy CategoricalHinge CategoryEncoding CenterCrop ClassMethod
    Concatenate Constant Constraint Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose
    ConvLSTM1D ConvLSTM2D ConvLSTM3D Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose
    Convolution3D Convolution3DTranspose CosineDecay CosineDecayRestarts CosineSimilarity Cropping1D Cropping2D
    Cropping3D CuDNNGRU CuDNNLSTM CustomScaleLayer Dense DepthwiseConv1D DepthwiseConv2D DeviceWrapper
    Discretization Dot Dropout DropoutWrapper ELU EinsumDense Embedding ExponentialDecay F1Score FBetaScore
    FalseNegatives FalsePositives Flatten Ftrl Functional GRU GRUCell GRUCellV1 GRUCellV2 GRUV1 GRUV2
    GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GlorotNormal GlorotUniform GroupNormalization
    HashedCrossing Hashing HeNormal HeUniform Hinge Huber Identity Initializer InputLayer InstanceMethod
    InstanceProperty IntegerLookup InverseTimeDecay IoU KLDivergence L1 L1L2 L2 LSTM LSTMCell LSTMCellV1
    LSTMCellV2 LSTMV1 LSTMV2 Layer LayerNormalization LayerScale LeakyReLU LearningRateSchedule LecunNormal
    LecunUniform Lion LocallyConnected1D LocallyConnected2D LogCosh LogCoshError Loss LossScaleOptimizer Masking
    MaxNorm MaxPool1D MaxPool2D MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D Maximum Mean MeanAbsoluteError
    MeanAbsolutePercentageError MeanIoU MeanRelativeError MeanSquaredError MeanSquaredLogarithmicError MeanTensor
    Metric MinMaxNorm Minimum Model MultiHeadAttention Multiply Nadam NonNeg Normalization OneHotIoU OneHotMeanIoU
    Ones Optimizer Orthogonal OrthogonalRegularizer PReLU Permute PiecewiseConstantDecay Poisson Policy
    PolynomialDecay Precision PrecisionAtRecall PreprocessingLayer R2Score RMSprop RNN RadialConstraint
    RandomBrightness RandomContrast RandomCrop RandomFlip RandomFourierFeatures RandomHeight RandomNormal
    RandomRotation RandomTranslation RandomUniform RandomWidth RandomZoom ReLU Recall RecallAtPrecision
    Regularizer RepeatVector Rescaling Reshape ResidualWrapper Resizing RootMeanSquaredError SGD
    SensitivityAtSpecificity SeparableConv1D SeparableConv2D SeparableConvolution1D SeparableConvolution2D
    Sequential SimpleRNN SimpleRNNCell SlicingOpLambda Softmax SparseCategoricalAccuracy
    SparseCategoricalCrossentropy SparseTopKCategoricalAccuracy SpatialDropout1D SpatialDropout2D SpatialDropout3D
    SpecificityAtSensitivity SpectralNormalization SquaredHinge StackedRNNCells StochasticDepth StringLookup
    Subtract Sum SyncBatchNormalization TFOpLambda TensorFlowOpLayer TextVectorization ThresholdedReLU
    TimeDistributed TopKCategoricalAccuracy TrueNegatives TruePositives TruncatedNormal UnitNorm UnitNormalization
    UpSampling1D UpSampling2D UpSampling3D VarianceScaling Wrapper ZeroPadding1D ZeroPadding2D ZeroPadding3D Zeros
    constant glorot_normal glorot_uniform he_normal he_uniform identity l1 l2 lecun_normal lecun_uniform max_norm
    min_max_norm non_neg ones orthogonal orthogonal_regularizer radial_constraint random_normal random_uniform
    truncated_normal unit_norm variance_scaling zeros
    """
)

# Classes of Keras 3, with the operations that it makes of `keras.ops`; none of these calls a function given to it.
CLASSES_3 = _names(
    """
    AUC AWQDTypePolicy Abs AbsMaxQuantizer Absolute Accuracy Activation ActivityRegularization Adadelta Adafactor
    Adagrad Adam AdamW Adamax AdaptiveAveragePool AdaptiveAveragePooling1D AdaptiveAveragePooling2D
    AdaptiveAveragePooling3D AdaptiveMaxPool AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add
    AdditiveAttention AffineTransform All AllClose AlphaDropout Amax Amin Angle Any Append Arange Arccos Arccosh
    Arcsin Arcsinh Arctan Arctan2 Arctanh Argmax Argmin Argpartition Argsort Array ArraySplit Attention AugMix
    AutoContrast Average AveragePool AveragePooling1D AveragePooling2D AveragePooling3D BatchNorm
    BatchNormalization Bidirectional BinaryAccuracy BinaryCrossentropy BinaryFocalCrossentropy BinaryIoU Bincount
    BitwiseAnd BitwiseInvert BitwiseLeftShift BitwiseNot BitwiseOr BitwiseRightShift BitwiseXor BroadcastTo CDist
    CTC CTCDecode CTCLoss Cast CategoricalAccuracy CategoricalCrossentropy CategoricalFocalCrossentropy
    CategoricalGeneralizedCrossEntropy CategoricalHinge CategoryEncoding Cbrt Ceil Celu CenterCrop Cholesky
    CholeskyInverse Circle Clip Concatenate ConcordanceCorrelation Conj Conjugate Constant Constraint
    ContrastLimitedAdaptiveHistogramEqualization Conv Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D
    Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D ConvTranspose ConvertToTensor Copy Corrcoef Correlate Cos
    Cosh CosineDecay CosineDecayRestarts CosineSimilarity CountNonzero CropImages Cropping1D Cropping2D Cropping3D
    Cross Cumprod Cumsum CustomScaleLayer CutMix DTypePolicy DTypePolicyMap Deg2rad Dense DepthToSpace
    DepthwiseConv DepthwiseConv1D DepthwiseConv2D Det Diag Diagflat Diagonal Dice Diff Digitize Discretization
    Divide DivideNoNan Dot DotProductAttention Dropout Dsplit Dstack ELU Eig Eigh Einsum EinsumDense
    ElasticTransform Elu Embedding EmptyLike Equal Equalization Erf Erfc Erfinv Exp Exp2 ExpandDims Expm1
    ExponentialDecay ExtractPatches ExtractSequences F1Score FBetaScore FFT FFT2 Fabs FalseNegatives
    FalsePositives Flatten Flip Fliplr Flipud Float8QuantizationConfig FloatDTypePolicy Floor FloorDivide Fmax
    Fmin Fmod Fold Ftrl Full FullLike Functional GPTQDTypePolicy GRU GRUCell GaussianBlur GaussianDropout
    GaussianNoise Gcd Gelu Geomspace GetItem GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GlorotNormal GlorotUniform Glu Greater GreaterEqual
    GroupNormalization GroupQueryAttention GroupedQueryAttention HSVToRGB HardShrink HardSigmoid HardSilu HardTanh
    HashedCrossing Hashing HeNormal HeUniform Heaviside Hinge Histogram Hsplit Hstack Huber Hypot I0 IFFT2 IRFFT
    ISTFT Identity Imag InTopK Initializer Inner InputLayer Int4DTypePolicy Int4QuantizationConfig
    Int8QuantizationConfig IntegerLookup Inv InverseTimeDecay IoU IsIn Isclose Isfinite Isinf Isnan Isneginf
    Isposinf Isreal KLDivergence Kron L1 L1L2 L2 LSTM LSTMCell Lamb Layer LayerNorm LayerNormalization LayerScale
    Lcm Ldexp LeakyReLU LeakyRelu LearningRateSchedule LecunNormal LecunUniform LeftShift Less LessEqual Linspace
    Lion Log Log10 Log1p Log2 LogCosh LogCoshError LogSigmoid LogSoftmax Logaddexp Logaddexp2 Logdet LogicalAnd
    LogicalNot LogicalOr LogicalXor Logspace Logsumexp Loss LossScaleOptimizer Lstsq LuFactor MapCoordinates
    Masking Matmul MatrixRank Max MaxNorm MaxNumBoundingBoxes MaxPool MaxPooling1D MaxPooling2D MaxPooling3D
    Maximum Mean MeanAbsoluteError MeanAbsolutePercentageError MeanIoU MeanSquaredError
    MeanSquaredLogarithmicError Median MelSpectrogram Meshgrid Metric Min MinMaxNorm Minimum MixUp Mod Model
    Moments Moveaxis MultiHeadAttention MultiHot MultiOptimizer Multiply Muon Nadam NanToNum Nanargmax Nanargmin
    Nancumprod Nancumsum Nanmax Nanmean Nanmedian Nanmin Nanpercentile Nanprod Nanquantile Nanstd Nansum Nanvar
    Ndim Negative Nextafter NonNeg Nonzero Norm Normalization Normalize NotEqual OneHot OneHotIoU OneHotMeanIoU
    Ones OnesLike Optimizer OptimizerMap Orthogonal OrthogonalRegularizer Outer PReLU PSNR Pad PadImages
    PearsonCorrelation Percentile Permute PerspectiveTransform PiecewiseConstantDecay Pinv Pipeline Poisson Polar
    PolynomialDecay Power Precision PrecisionAtRecall Prod Ptp Qr Quantile QuantizationConfig QuantizedDTypePolicy
    QuantizedFloat8DTypePolicy R2Score RFFT RGBToGrayscale RGBToHSV RMSNorm RMSNormalization RMSprop RNN Rad2deg
    RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
    RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert
    RandomNormal RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear
    RandomTranslation RandomUniform RandomZoom Ravel ReLU Real Rearrange Recall RecallAtPrecision Reciprocal
    Regularizer Relu Relu6 Repeat RepeatVector Rescaling Reshape Resize Resizing ReversibleEmbedding RightShift
    Roll RootMeanSquaredError Rot90 Round Rsqrt SGD SSIM STFT STFTSpectrogram SVD SaturateCast ScaleAndTranslate
    Scatter ScatterUpdate ScheduleFreeAdamW SearchSorted SeedGenerator SegmentMax SegmentMin SegmentProd
    SegmentSum Select Selu SensitivityAtSpecificity SeparableConv SeparableConv1D SeparableConv2D Sequential
    Sigmoid Sign Signbit Silu SimpleRNN SimpleRNNCell Sin Sinc Sinh Size Slice SliceUpdate Slogdet SobelEdges
    SoftShrink Softmax Softplus Softsign Solarization Solve SolveTriangular Sort SpaceToDepth
    SparseCategoricalAccuracy SparseCategoricalCrossentropy SparsePlus SparseSigmoid SparseTopKCategoricalAccuracy
    Sparsemax SpatialDropout1D SpatialDropout2D SpatialDropout3D SpecificityAtSensitivity SpectralNormalization
    Split Sqrt Square SquaredHinge Squareplus Squeeze Stack StackedRNNCells Std StochasticDepth StopGradient
    StringLookup Subtract Sum Swapaxes Take TakeAlongAxis Tan Tanh TanhShrink Tensordot TextVectorization
    Threshold Tile TimeDistributed TopK TopKCategoricalAccuracy Trace Transpose Trapezoid Tril Triu TrueDivide
    TrueNegatives TruePositives Trunc TruncatedNormal Tversky Unfold Unique UnitNorm UnitNormalization
    UnravelIndex Unstack UpSampling1D UpSampling2D UpSampling3D Vander Var VarianceScaling Vdot View ViewAsComplex
    ViewAsReal Vsplit Vstack Where Wrapper ZeroPadding1D ZeroPadding2D ZeroPadding3D Zeros ZerosLike
    """
)

# Modules that a configuration of Keras 2 may name, without the `src.` and the `tf_` that some versions write.
MODULES_2 = _names(
    """
    keras keras.applications.convnext keras.applications.inception_resnet_v2 keras.constraints
    keras.engine.base_layer keras.engine.base_preprocessing_layer keras.engine.functional keras.engine.input_layer
    keras.engine.sequential keras.engine.training keras.initializers keras.initializers.initializers keras.layers
    keras.layers.activation.elu keras.layers.activation.leaky_relu keras.layers.activation.prelu
    keras.layers.activation.relu keras.layers.activation.softmax keras.layers.activation.thresholded_relu
    keras.layers.attention.additive_attention keras.layers.attention.attention
    keras.layers.attention.multi_head_attention keras.layers.convolutional.conv1d
    keras.layers.convolutional.conv1d_transpose keras.layers.convolutional.conv2d
    keras.layers.convolutional.conv2d_transpose keras.layers.convolutional.conv3d
    keras.layers.convolutional.conv3d_transpose keras.layers.convolutional.depthwise_conv1d
    keras.layers.convolutional.depthwise_conv2d keras.layers.convolutional.separable_conv1d
    keras.layers.convolutional.separable_conv2d keras.layers.core.activation keras.layers.core.dense
    keras.layers.core.einsum_dense keras.layers.core.embedding keras.layers.core.identity
    keras.layers.core.masking keras.layers.core.tf_op_layer keras.layers.experimental
    keras.layers.experimental.preprocessing keras.layers.kernelized
    keras.layers.locally_connected.locally_connected1d keras.layers.locally_connected.locally_connected2d
    keras.layers.merging.add keras.layers.merging.average keras.layers.merging.concatenate
    keras.layers.merging.dot keras.layers.merging.maximum keras.layers.merging.minimum
    keras.layers.merging.multiply keras.layers.merging.subtract keras.layers.normalization.batch_normalization
    keras.layers.normalization.group_normalization keras.layers.normalization.layer_normalization
    keras.layers.normalization.spectral_normalization keras.layers.normalization.unit_normalization
    keras.layers.pooling.average_pooling1d keras.layers.pooling.average_pooling2d
    keras.layers.pooling.average_pooling3d keras.layers.pooling.global_average_pooling1d
    keras.layers.pooling.global_average_pooling2d keras.layers.pooling.global_average_pooling3d
    keras.layers.pooling.global_max_pooling1d keras.layers.pooling.global_max_pooling2d
    keras.layers.pooling.global_max_pooling3d keras.layers.pooling.max_pooling1d
    keras.layers.pooling.max_pooling2d keras.layers.pooling.max_pooling3d
    keras.layers.preprocessing.category_encoding keras.layers.preprocessing.discretization
    keras.layers.preprocessing.hashed_crossing keras.layers.preprocessing.hashing
    keras.layers.preprocessing.image_preprocessing keras.layers.preprocessing.integer_lookup
    keras.layers.preprocessing.normalization keras.layers.preprocessing.string_lookup
    keras.layers.preprocessing.text_vectorization keras.layers.regularization.activity_regularization
    keras.layers.regularization.alpha_dropout keras.layers.regularization.dropout
    keras.layers.regularization.gaussian_dropout keras.layers.regularization.gaussian_noise
    keras.layers.regularization.spatial_dropout1d keras.layers.regularization.spatial_dropout2d
    keras.layers.regularization.spatial_dropout3d keras.layers.reshaping.cropping1d
    keras.layers.reshaping.cropping2d keras.layers.reshaping.cropping3d keras.layers.reshaping.flatten
    keras.layers.reshaping.permute keras.layers.reshaping.repeat_vector keras.layers.reshaping.reshape
    keras.layers.reshaping.up_sampling1d keras.layers.reshaping.up_sampling2d keras.layers.reshaping.up_sampling3d
    keras.layers.reshaping.zero_padding1d keras.layers.reshaping.zero_padding2d
    keras.layers.reshaping.zero_padding3d keras.layers.rnn keras.layers.rnn.abstract_rnn_cell
    keras.layers.rnn.base_rnn keras.layers.rnn.base_wrapper keras.layers.rnn.bidirectional
    keras.layers.rnn.cell_wrappers keras.layers.rnn.conv_lstm1d keras.layers.rnn.conv_lstm2d
    keras.layers.rnn.conv_lstm3d keras.layers.rnn.cudnn_gru keras.layers.rnn.cudnn_lstm keras.layers.rnn.gru
    keras.layers.rnn.lstm keras.layers.rnn.simple_rnn keras.layers.rnn.stacked_rnn_cells
    keras.layers.rnn.time_distributed keras.losses keras.metrics keras.metrics.accuracy_metrics
    keras.metrics.base_metric keras.metrics.confusion_metrics keras.metrics.experimental
    keras.metrics.f_score_metrics keras.metrics.hinge_metrics keras.metrics.iou_metrics
    keras.metrics.probabilistic_metrics keras.metrics.regression_metrics keras.mixed_precision
    keras.mixed_precision.policy keras.models keras.optimizers keras.optimizers.adadelta
    keras.optimizers.adafactor keras.optimizers.adagrad keras.optimizers.adam keras.optimizers.adamax
    keras.optimizers.adamw keras.optimizers.experimental keras.optimizers.ftrl keras.optimizers.legacy
    keras.optimizers.legacy.adadelta keras.optimizers.legacy.adagrad keras.optimizers.legacy.adam
    keras.optimizers.legacy.adamax keras.optimizers.legacy.ftrl keras.optimizers.legacy.gradient_descent
    keras.optimizers.legacy.nadam keras.optimizers.legacy.rmsprop keras.optimizers.lion keras.optimizers.nadam
    keras.optimizers.optimizer keras.optimizers.rmsprop keras.optimizers.schedules
    keras.optimizers.schedules.learning_rate_schedule keras.optimizers.sgd keras.regularizers
    """
)

# The same for Keras 3.
MODULES_3 = _names(
    """
    keras keras.applications.convnext keras.applications.inception_resnet_v2 keras.constraints
    keras.constraints.constraints keras.dtype_policies keras.dtype_policies.dtype_policy
    keras.dtype_policies.dtype_policy_map keras.engine.functional keras.initializers
    keras.initializers.constant_initializers keras.initializers.initializer keras.initializers.random_initializers
    keras.layers keras.layers.activations.activation keras.layers.activations.elu
    keras.layers.activations.leaky_relu keras.layers.activations.prelu keras.layers.activations.relu
    keras.layers.activations.softmax keras.layers.attention.additive_attention keras.layers.attention.attention
    keras.layers.attention.grouped_query_attention keras.layers.attention.multi_head_attention
    keras.layers.convolutional.conv1d keras.layers.convolutional.conv1d_transpose
    keras.layers.convolutional.conv2d keras.layers.convolutional.conv2d_transpose
    keras.layers.convolutional.conv3d keras.layers.convolutional.conv3d_transpose
    keras.layers.convolutional.depthwise_conv1d keras.layers.convolutional.depthwise_conv2d
    keras.layers.convolutional.separable_conv1d keras.layers.convolutional.separable_conv2d
    keras.layers.core.dense keras.layers.core.einsum_dense keras.layers.core.embedding keras.layers.core.identity
    keras.layers.core.input_layer keras.layers.core.masking keras.layers.core.reversible_embedding
    keras.layers.core.wrapper keras.layers.layer keras.layers.merging.add keras.layers.merging.average
    keras.layers.merging.concatenate keras.layers.merging.dot keras.layers.merging.maximum
    keras.layers.merging.minimum keras.layers.merging.multiply keras.layers.merging.subtract
    keras.layers.normalization.batch_normalization keras.layers.normalization.group_normalization
    keras.layers.normalization.layer_normalization keras.layers.normalization.rms_normalization
    keras.layers.normalization.spectral_normalization keras.layers.normalization.unit_normalization
    keras.layers.pooling.adaptive_average_pooling1d keras.layers.pooling.adaptive_average_pooling2d
    keras.layers.pooling.adaptive_average_pooling3d keras.layers.pooling.adaptive_max_pooling1d
    keras.layers.pooling.adaptive_max_pooling2d keras.layers.pooling.adaptive_max_pooling3d
    keras.layers.pooling.average_pooling1d keras.layers.pooling.average_pooling2d
    keras.layers.pooling.average_pooling3d keras.layers.pooling.global_average_pooling1d
    keras.layers.pooling.global_average_pooling2d keras.layers.pooling.global_average_pooling3d
    keras.layers.pooling.global_max_pooling1d keras.layers.pooling.global_max_pooling2d
    keras.layers.pooling.global_max_pooling3d keras.layers.pooling.max_pooling1d
    keras.layers.pooling.max_pooling2d keras.layers.pooling.max_pooling3d
    keras.layers.preprocessing.category_encoding keras.layers.preprocessing.discretization
    keras.layers.preprocessing.hashed_crossing keras.layers.preprocessing.hashing
    keras.layers.preprocessing.image_preprocessing.aug_mix
    keras.layers.preprocessing.image_preprocessing.auto_contrast
    keras.layers.preprocessing.image_preprocessing.center_crop
    keras.layers.preprocessing.image_preprocessing.clahe keras.layers.preprocessing.image_preprocessing.cut_mix
    keras.layers.preprocessing.image_preprocessing.equalization
    keras.layers.preprocessing.image_preprocessing.max_num_bounding_box
    keras.layers.preprocessing.image_preprocessing.mix_up
    keras.layers.preprocessing.image_preprocessing.rand_augment
    keras.layers.preprocessing.image_preprocessing.random_brightness
    keras.layers.preprocessing.image_preprocessing.random_color_degeneration
    keras.layers.preprocessing.image_preprocessing.random_color_jitter
    keras.layers.preprocessing.image_preprocessing.random_contrast
    keras.layers.preprocessing.image_preprocessing.random_crop
    keras.layers.preprocessing.image_preprocessing.random_elastic_transform
    keras.layers.preprocessing.image_preprocessing.random_erasing
    keras.layers.preprocessing.image_preprocessing.random_flip
    keras.layers.preprocessing.image_preprocessing.random_gaussian_blur
    keras.layers.preprocessing.image_preprocessing.random_grayscale
    keras.layers.preprocessing.image_preprocessing.random_hue
    keras.layers.preprocessing.image_preprocessing.random_invert
    keras.layers.preprocessing.image_preprocessing.random_perspective
    keras.layers.preprocessing.image_preprocessing.random_posterization
    keras.layers.preprocessing.image_preprocessing.random_rotation
    keras.layers.preprocessing.image_preprocessing.random_saturation
    keras.layers.preprocessing.image_preprocessing.random_sharpness
    keras.layers.preprocessing.image_preprocessing.random_shear
    keras.layers.preprocessing.image_preprocessing.random_translation
    keras.layers.preprocessing.image_preprocessing.random_zoom
    keras.layers.preprocessing.image_preprocessing.resizing
    keras.layers.preprocessing.image_preprocessing.solarization keras.layers.preprocessing.integer_lookup
    keras.layers.preprocessing.mel_spectrogram keras.layers.preprocessing.normalization
    keras.layers.preprocessing.pipeline keras.layers.preprocessing.rescaling
    keras.layers.preprocessing.stft_spectrogram keras.layers.preprocessing.string_lookup
    keras.layers.preprocessing.text_vectorization keras.layers.regularization.activity_regularization
    keras.layers.regularization.alpha_dropout keras.layers.regularization.dropout
    keras.layers.regularization.gaussian_dropout keras.layers.regularization.gaussian_noise
    keras.layers.regularization.spatial_dropout keras.layers.reshaping.cropping1d
    keras.layers.reshaping.cropping2d keras.layers.reshaping.cropping3d keras.layers.reshaping.flatten
    keras.layers.reshaping.permute keras.layers.reshaping.repeat_vector keras.layers.reshaping.reshape
    keras.layers.reshaping.up_sampling1d keras.layers.reshaping.up_sampling2d keras.layers.reshaping.up_sampling3d
    keras.layers.reshaping.zero_padding1d keras.layers.reshaping.zero_padding2d
    keras.layers.reshaping.zero_padding3d keras.layers.rnn.bidirectional keras.layers.rnn.conv_lstm1d
    keras.layers.rnn.conv_lstm2d keras.layers.rnn.conv_lstm3d keras.layers.rnn.gru keras.layers.rnn.lstm
    keras.layers.rnn.rnn keras.layers.rnn.simple_rnn keras.layers.rnn.stacked_rnn_cells
    keras.layers.rnn.time_distributed keras.losses keras.losses.loss keras.losses.losses keras.metrics
    keras.metrics.accuracy_metrics keras.metrics.confusion_metrics keras.metrics.correlation_metrics
    keras.metrics.f_score_metrics keras.metrics.hinge_metrics keras.metrics.iou_metrics keras.metrics.metric
    keras.metrics.probabilistic_metrics keras.metrics.reduction_metrics keras.metrics.regression_metrics
    keras.models keras.models.functional keras.models.model keras.models.sequential keras.ops.core
    keras.ops.einops keras.ops.image keras.ops.linalg keras.ops.math keras.ops.nn keras.ops.numpy keras.optimizers
    keras.optimizers.adadelta keras.optimizers.adafactor keras.optimizers.adagrad keras.optimizers.adam
    keras.optimizers.adamax keras.optimizers.adamw keras.optimizers.ftrl keras.optimizers.lamb
    keras.optimizers.legacy keras.optimizers.lion keras.optimizers.loss_scale_optimizer
    keras.optimizers.multi_optimizer keras.optimizers.muon keras.optimizers.nadam keras.optimizers.optimizer
    keras.optimizers.rmsprop keras.optimizers.schedule_free_adamw keras.optimizers.schedules
    keras.optimizers.schedules.learning_rate_schedule keras.optimizers.sgd keras.quantizers
    keras.quantizers.quantization_config keras.quantizers.quantizers keras.random keras.random.seed_generator
    keras.regularizers keras.regularizers.regularizers
    """
)

# Names of activations.
ACTIVATIONS_2 = _names(
    """
    ELU LeakyReLU PReLU ReLU Softmax ThresholdedReLU elu exponential gelu hard_sigmoid leaky_relu linear
    log_softmax mish relu relu6 selu sigmoid silu softmax softplus softsign swish tanh
    """
)

# The same for Keras 3.
ACTIVATIONS_3 = _names(
    """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear
    log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus
    sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink threshold
    """
)

# Names of initializers, regularizers and constraints of both.
GIVEN = _names(
    """
    Constant Constraint GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer Initializer L1
    L1L2 L2 LecunNormal LecunUniform MaxNorm MinMaxNorm NonNeg Ones Orthogonal OrthogonalInitializer
    OrthogonalRegularizer RadialConstraint RandomNormal RandomUniform Regularizer STFT STFTInitializer
    TruncatedNormal UnitNorm VarianceScaling Zeros constant constraint glorot_normal glorot_uniform he_normal
    he_uniform identity initializer l1 l1_l2 l1l2 l2 lecun_normal lecun_uniform max_norm maxnorm min_max_norm
    non_neg nonneg normal one ones orthogonal orthogonal_regularizer radial_constraint random_normal
    random_uniform regularizer stft truncated_normal uniform unit_norm unitnorm variance_scaling zero zeros
    """
)

# Names that Keras 2 itself registers, and their classes.
REGISTERED = {"Custom>CustomScaleLayer": "CustomScaleLayer"}

# TensorFlow's own initializers, which Keras 2 accepts as well, and their modules.
INITIALIZERS = _names(
    """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones Orthogonal
    RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros
    """
)
INITIALIZER_MODULES = ("tensorflow.python.ops.init_ops_v2", "tensorflow.python.ops.init_ops")

# Losses and metrics of both that are functions.
COMPILED = _names(
    """
    ACC BCE KLD MAE MAPE MSE MSLE acc accuracy bce binary_accuracy binary_crossentropy binary_focal_crossentropy
    categorical_accuracy categorical_crossentropy categorical_focal_crossentropy categorical_hinge circle
    cosine_proximity cosine_similarity ctc dice hinge huber huber_loss kl_divergence kld
    kullback_leibler_divergence log_cosh logcosh mae mape mean_absolute_error mean_absolute_percentage_error
    mean_squared_error mean_squared_logarithmic_error mse msle poisson sparse_categorical_accuracy
    sparse_categorical_crossentropy sparse_top_k_categorical_accuracy squared_hinge top_k_categorical_accuracy
    tversky
    """
)

# Operators of a TensorFlowOpLayer that turn one tensor into another without any effect.
NODE_OPERATORS = _names(
    """
    Abs Acos Acosh Add AddN AddV2 All Any ArgMax ArgMin Asin Asinh Atan Atan2 Atanh AvgPool AvgPool3D BatchMatMul
    BatchMatMulV2 BatchMatMulV3 BatchToSpace BatchToSpaceND BiasAdd Bincount Bitcast BitwiseAnd BitwiseOr
    BitwiseXor BroadcastArgs BroadcastTo Cast Ceil ClipByValue Complex Concat ConcatV2 Conj Const Conv2D
    Conv2DBackpropInput Conv3D Conv3DBackpropInputV2 Cos Cosh CropAndResize Cross Cumprod Cumsum DepthToSpace
    DepthwiseConv2dNative Diag DiagPart Digamma Div DivNoNan Einsum Elu EnsureShape Equal Erf Erfc Exp ExpandDims
    Expm1 ExtractImagePatches FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel
    Fill Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Gather GatherNd GatherV2 Greater
    GreaterEqual Identity IdentityN Imag Inv InvertPermutation IsFinite IsInf IsNan L2Loss LRN LeakyRelu LeftShift
    Less LessEqual Lgamma LinSpace Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul MatrixBandPart
    MatrixDiag MatrixDiagPart MatrixInverse MatrixSetDiag Max MaxPool MaxPool3D MaxPoolV2 MaxPoolWithArgmax
    Maximum Mean Min Minimum MirrorPad Mod Mul MulNoNan Neg NonMaxSuppression NonMaxSuppressionV2
    NonMaxSuppressionV3 NonMaxSuppressionV4 NonMaxSuppressionV5 NotEqual OneHot OnesLike Pack Pad PadV2
    Placeholder PlaceholderWithDefault Pow PreventGradient Prod Range Rank Real RealDiv Reciprocal Relu Relu6
    Reshape ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor Reverse ReverseSequence ReverseV2
    RightShift Rint Roll Round Rsqrt ScatterNd SegmentMax SegmentMean SegmentMin SegmentProd SegmentSum Select
    SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Sinh Size Slice Snapshot Softmax Softplus Softsign SpaceToBatch
    SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square SquaredDifference Squeeze StopGradient StridedSlice Sub
    Sum Tan Tanh TensorScatterAdd TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate Tile TopK
    TopKV2 Transpose TruncateDiv TruncateMod Unpack UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd
    UnsortedSegmentSum Where Xdivy Xlogy ZerosLike
    """
)

# Functions that tf-keras turns into layers for ragged or sparse tensors.
RAGGED_VALUES = _names("dense_shape flat_values indices nested_row_splits row_splits values")
RAGGED_METHODS = _names(
    """
    bounding_shape merge_dims nested_row_lengths nested_value_rowids nrows row_lengths row_limits row_starts to_sparse
    to_tensor value_rowids with_flat_values with_row_splits_dtype with_values
    """
)
RAGGED_MAKERS = _names(
    """
    from_nested_row_lengths from_nested_row_splits from_nested_value_rowids from_row_lengths from_row_limits
    from_row_splits from_row_starts from_sparse from_tensor from_uniform_row_length from_value_rowids
    """
)

# Functions of TensorFlow that a TFOpLambda may call, by namespace: their results only depend on their tensors (or on
# chance), and they take no function, file name or graph. Those of `tf.compat.v1` are listed without that prefix.
_PURE = {
    "": """
        abs acos acosh add add_n angle argmax argmin argsort asin asinh atan atan2 atanh batch_gather
        batch_to_space batch_to_space_nd betainc bincount bitcast boolean_mask broadcast_dynamic_shape
        broadcast_static_shape broadcast_to cast ceil check_numerics clip_by_average_norm
        clip_by_global_norm clip_by_norm clip_by_value complex concat conj constant convert_to_tensor cos
        cosh count_nonzero cross cumprod cumsum depth_to_space diag diag_part digamma div div_no_nan divide
        dynamic_partition dynamic_stitch einsum ensure_shape equal erf erfc exp expand_dims expm1
        extract_image_patches extract_volume_patches eye fake_quant_with_min_max_args
        fake_quant_with_min_max_vars fake_quant_with_min_max_vars_per_channel fft fft2d fft3d fill floor
        floor_div floordiv floormod gather gather_nd greater greater_equal guarantee_const
        histogram_fixed_width identity identity_n ifft ifft2d ifft3d igamma igammac imag invert_permutation
        is_finite is_inf is_nan is_tensor lbeta less less_equal lgamma lin_space linspace log log1p
        log_sigmoid logical_and logical_not logical_or logical_xor matmul matrix_band_part
        matrix_determinant matrix_diag matrix_diag_part matrix_inverse matrix_set_diag matrix_solve
        matrix_transpose matrix_triangular_solve maximum meshgrid minimum mod multiply negative no_op norm
        not_equal one_hot ones ones_like pad parallel_stack polygamma pow quantize random_crop random_normal
        random_shuffle random_uniform range rank real realdiv reciprocal reduce_all reduce_any
        reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_sum repeat reshape reverse
        reverse_sequence reverse_v2 rint roll round rsqrt saturate_cast scalar_mul scatter_nd searchsorted
        segment_max segment_mean segment_min segment_prod segment_sum sequence_mask shape shape_n sigmoid
        sign sin sinh size slice sort space_to_batch space_to_batch_nd space_to_depth split sqrt square
        squared_difference squeeze stack stop_gradient strided_slice subtract svd tan tanh
        tensor_scatter_add tensor_scatter_nd_add tensor_scatter_nd_max tensor_scatter_nd_min
        tensor_scatter_nd_sub tensor_scatter_nd_update tensor_scatter_sub tensor_scatter_update tensordot
        tile to_bfloat16 to_double to_float to_int32 to_int64 trace transpose truediv truncated_normal
        truncatediv truncatemod unique unravel_index unsorted_segment_max unsorted_segment_mean
        unsorted_segment_min unsorted_segment_prod unsorted_segment_sum unstack where where_v2 zeros
        zeros_like
    """,
    "__operators__": """
        add eq getitem ne ragged_getitem
    """,
    "bitwise": """
        bitwise_and bitwise_or bitwise_xor invert left_shift right_shift
    """,
    "debugging": """
        check_numerics
    """,
    "dtypes": """
        cast complex saturate_cast
    """,
    "image": """
        adjust_brightness adjust_contrast adjust_gamma adjust_hue adjust_saturation central_crop
        combined_non_max_suppression convert_image_dtype crop_and_resize crop_to_bounding_box
        extract_glimpse extract_image_patches extract_patches flip_left_right flip_up_down grayscale_to_rgb
        hsv_to_rgb image_gradients non_max_suppression non_max_suppression_overlaps
        non_max_suppression_padded non_max_suppression_with_scores pad_to_bounding_box
        per_image_standardization psnr random_brightness random_contrast random_crop random_flip_left_right
        random_flip_up_down random_hue random_saturation resize resize_area resize_bicubic resize_bilinear
        resize_image_with_crop_or_pad resize_image_with_pad resize_images resize_nearest_neighbor
        resize_with_crop_or_pad resize_with_pad rgb_to_grayscale rgb_to_hsv rgb_to_yiq rgb_to_yuv rot90
        sample_distorted_bounding_box sobel_edges ssim ssim_multiscale stateless_random_brightness
        stateless_random_contrast stateless_random_crop stateless_random_flip_left_right
        stateless_random_flip_up_down stateless_random_hue stateless_random_saturation
        stateless_sample_distorted_bounding_box total_variation transpose transpose_image yiq_to_rgb
        yuv_to_rgb
    """,
    "keras.activations": """
        elu exponential gelu hard_sigmoid linear mish relu selu sigmoid softmax softplus softsign swish tanh
    """,
    "keras.backend": """
        abs all any arange argmax argmin batch_dot batch_flatten bias_add binary_crossentropy cast
        cast_to_floatx categorical_crossentropy clip concatenate constant conv1d conv2d conv2d_transpose
        conv3d cos cumprod cumsum depthwise_conv2d dot dropout dtype elu equal exp expand_dims eye flatten
        gather greater greater_equal hard_sigmoid in_top_k int_shape l2_normalize less less_equal log max
        maximum mean min minimum ndim not_equal one_hot ones_like permute_dimensions pool2d pool3d pow prod
        random_bernoulli random_binomial random_normal random_uniform relu repeat repeat_elements reshape
        resize_images resize_volumes reverse round separable_conv2d shape sigmoid sign sin softmax softplus
        softsign sparse_categorical_crossentropy spatial_2d_padding spatial_3d_padding sqrt square squeeze
        stack std stop_gradient sum switch tanh temporal_padding tile transpose truncated_normal var
        zeros_like
    """,
    "linalg": """
        adjoint band_part banded_triangular_solve cholesky cholesky_solve cross det diag diag_part eig eigh
        eigh_tridiagonal eigvals eigvalsh einsum expm eye global_norm inv l2_normalize logdet logm lstsq lu
        lu_matrix_inverse lu_reconstruct lu_solve matmul matrix_rank matrix_transpose matvec norm normalize
        pinv qr set_diag slogdet solve sqrtm svd tensor_diag tensor_diag_part tensordot trace transpose
        triangular_solve tridiagonal_matmul tridiagonal_solve
    """,
    "math": """
        abs accumulate_n acos acosh add add_n angle approx_max_k approx_min_k argmax argmin asin asinh atan
        atan2 atanh bessel_i0 bessel_i0e bessel_i1 bessel_i1e betainc bincount ceil confusion_matrix conj
        cos cosh count_nonzero cumprod cumsum cumulative_logsumexp digamma divide divide_no_nan equal erf
        erfc erfcinv erfinv exp expm1 floor floordiv floormod greater greater_equal igamma igammac imag
        in_top_k invert_permutation is_finite is_inf is_nan is_non_decreasing is_strictly_increasing
        l2_normalize lbeta less less_equal lgamma log log1p log_sigmoid log_softmax logical_and logical_not
        logical_or logical_xor maximum minimum mod multiply multiply_no_nan ndtri negative nextafter
        not_equal polygamma polyval pow real reciprocal reciprocal_no_nan reduce_all reduce_any
        reduce_euclidean_norm reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_std
        reduce_sum reduce_variance rint round rsqrt scalar_mul segment_max segment_mean segment_min
        segment_prod segment_sum sigmoid sign sin sinh sobol_sample softmax softplus softsign sqrt square
        squared_difference subtract tan tanh top_k truediv unsorted_segment_max unsorted_segment_mean
        unsorted_segment_min unsorted_segment_prod unsorted_segment_sqrt_n unsorted_segment_sum xdivy
        xlog1py xlogy zero_fraction zeta
    """,
    "math.special": """
        bessel_i0 bessel_i0e bessel_i1 bessel_i1e bessel_j0 bessel_j1 bessel_k0 bessel_k0e bessel_k1
        bessel_k1e bessel_y0 bessel_y1 dawsn expint fresnel_cos fresnel_sin spence
    """,
    "nn": """
        approx_max_k approx_min_k atrous_conv2d atrous_conv2d_transpose avg_pool avg_pool1d avg_pool2d
        avg_pool3d avg_pool_v2 batch_norm_with_global_normalization batch_normalization bias_add
        collapse_repeated compute_accidental_hits conv1d conv1d_transpose conv2d conv2d_backprop_filter
        conv2d_backprop_input conv2d_transpose conv3d conv3d_backprop_filter conv3d_backprop_filter_v2
        conv3d_transpose conv_transpose convolution crelu ctc_loss ctc_loss_v2 ctc_unique_labels
        depth_to_space depthwise_conv2d depthwise_conv2d_backprop_filter depthwise_conv2d_backprop_input
        depthwise_conv2d_native depthwise_conv2d_native_backprop_filter
        depthwise_conv2d_native_backprop_input dilation2d dropout elu embedding_lookup
        embedding_lookup_sparse erosion2d fractional_avg_pool fractional_max_pool fused_batch_norm gelu
        in_top_k isotonic_regression l2_loss l2_normalize leaky_relu local_response_normalization
        log_poisson_loss log_softmax lrn max_pool max_pool1d max_pool2d max_pool3d max_pool_v2
        max_pool_with_argmax moments nce_loss normalize_moments pool relu relu6 relu_layer
        safe_embedding_lookup_sparse sampled_softmax_loss selu separable_conv2d sigmoid
        sigmoid_cross_entropy_with_logits silu softmax softmax_cross_entropy_with_logits
        softmax_cross_entropy_with_logits_v2 softplus softsign space_to_batch space_to_depth
        sparse_softmax_cross_entropy_with_logits sufficient_statistics swish tanh top_k
        weighted_cross_entropy_with_logits weighted_moments xw_plus_b zero_fraction
    """,
    "nn.experimental": """
        general_dropout stateless_dropout
    """,
    "quantization": """
        dequantize fake_quant_with_min_max_args fake_quant_with_min_max_vars
        fake_quant_with_min_max_vars_per_channel quantize quantize_and_dequantize quantize_and_dequantize_v2
    """,
    "ragged": """
        boolean_mask constant range stack
    """,
    "random": """
        categorical gamma normal poisson shuffle split stateless_binomial stateless_categorical
        stateless_gamma stateless_normal stateless_parameterized_truncated_normal stateless_poisson
        stateless_truncated_normal stateless_uniform truncated_normal uniform
    """,
    "signal": """
        dct fft fft2d fft3d fftnd fftshift frame hamming_window hann_window idct ifft ifft2d ifft3d ifftnd
        ifftshift inverse_mdct inverse_stft inverse_stft_window_fn irfft irfft2d irfft3d irfftnd
        kaiser_bessel_derived_window kaiser_window linear_to_mel_weight_matrix mdct
        mfccs_from_log_mel_spectrograms overlap_and_add rfft rfft2d rfft3d rfftnd stft vorbis_window
    """,
    "sparse": """
        add concat expand_dims from_dense mask maximum minimum reduce_max reduce_sum reorder reshape retain
        slice softmax sparse_dense_matmul split to_dense transpose
    """,
    "strings": """
        as_string bytes_split join length lower regex_full_match regex_replace split strip substr
        to_hash_bucket to_hash_bucket_fast to_hash_bucket_strong to_number unicode_split upper
    """,
}
PURE_SYMBOLS = frozenset(
    f"{space}.{name}" if space else name for space, names in _PURE.items() for name in names.split()
)
